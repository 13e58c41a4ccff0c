//! `explain`: what an error code means.

use super::error::{CODES, Code, Failure};
use super::output::print_line;

/// Flags of `explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The code in brackets at the beginning of an error, for instance E36
    #[arg(long, value_name = "CODE")]
    error_code: String,
}

/// Prints the meaning of a code.
pub fn run(args: &Args) -> Result<(), Failure> {
    let wanted = args.error_code.to_ascii_uppercase();
    if let Some((_, code, name, meaning)) = CODES.iter().find(|(_, code, ..)| *code == wanted) {
        return print_line(&format!("[ {code} ] {name}: {meaning}"));
    }
    let number =
        wanted.strip_prefix('E').and_then(|digits| digits.parse::<u8>().ok()).filter(|_| wanted.len() == 3);
    match number {
        Some(0..=60) => {
            print_line(&format!("[ {wanted} ] is a code of nitro-cli's that casemate never ends with."))
        }
        _ => Err(Failure::new(
            Code::InvalidArgument,
            format!("`{}` is not an error code: they are E00 to E60", args.error_code),
        )),
    }
}
