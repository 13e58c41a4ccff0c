//! Tests of the linker messages, with what the two linkers really print.

use super::*;

const LLD: &str = "\
rust-lld: error: undefined symbol: getaddrinfo
>>> referenced by socket_addr.rs:12 (library/std/src/net/socket_addr.rs:12)
>>>               /t/libstd-1.rlib(std-1.std.1-cgu.0.rcgu.o):(<std::sys::net::LookupHost>::new)
>>> referenced by main.rs:3
>>>               app.o:(_ZN3app4main17h0123456789abcdefE)

rust-lld: error: undefined symbol: frobnicate
>>> referenced by x.c
>>>               x.o:(helper) in archive libx.a
";

const GNU: &str = "\
/usr/bin/ld: /t/app.o: in function `_ZN3app4main17h0123456789abcdefE':
main.rs:(.text+0x1): undefined reference to `socket'
/usr/bin/ld: main.rs:(.text+0x9): undefined reference to `socket'
collect2: error: ld returned 1 exit status
";

#[test]
fn lld_is_understood() {
    let missing = missing_symbols(LLD);
    let symbols: Vec<&str> = missing.iter().map(|m| m.symbol.as_str()).collect();
    assert_eq!(symbols, ["frobnicate", "getaddrinfo"]);
    assert_eq!(missing[1].wanted_by, ["<std::sys::net::LookupHost>::new", "app::main"]);
    let text = explain(&missing);
    assert!(
        text.contains(
            "the guest needs `getaddrinfo`, which a sealed guest does not have: there is no network"
        )
    );
    assert!(text.contains("wanted by crates `app`, `std`"), "{text}");
    assert!(text.contains("`frobnicate`, which a sealed guest does not have; wanted by helper"), "{text}");
}

#[test]
fn gnu_ld_is_understood() {
    let missing = missing_symbols(GNU);
    assert_eq!(missing, [Missing { symbol: "socket".to_owned(), wanted_by: vec!["app::main".to_owned()] }]);
    assert!(explain(&missing).contains("wanted by crate `app` (in app::main)"));
}

#[test]
fn symbols_of_a_kind_share_a_line() {
    let one = |symbol: &str| Missing { symbol: symbol.to_owned(), wanted_by: vec!["app::main".to_owned()] };
    let text = explain(&[one("fork"), one("posix_spawnp"), one("sigaction"), one("x"), one("y")]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].contains("`fork`, `posix_spawnp`") && lines[0].contains("no processes"), "{text}");
}

#[test]
fn hashes_of_names_are_left_out() {
    assert_eq!(plain_name("newguest::main::he7897a7dac7ea696"), "newguest::main");
    assert_eq!(plain_name("_ZN3app4main17h0123456789abcdefE"), "app::main");
    assert_eq!(plain_name("plain::hello"), "plain::hello");
}

#[test]
fn other_errors_are_left_alone() {
    assert_eq!(missing_symbols("ld: cannot find -lfoo: No such file or directory"), []);
}
