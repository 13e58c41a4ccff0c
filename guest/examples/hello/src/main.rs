//! The smallest sealed guest: prints and ends. What it prints is seen in debug mode only.

use casemate_guest as _;

fn main() {
    println!("Hello from a sealed guest. Its measured command line: {:?}", casemate_guest::cmdline());
}
