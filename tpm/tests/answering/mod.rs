//! A TPM that answers what it is told to. Shared with the fuzz targets.

use std::io::Write as _;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use casemate_tpm::command::{Error, Tpm};
use casemate_tpm::device::Connection;
use casemate_tpm::evidence::{Evidence, Signed};

/// Asks something of a TPM that gives these answers, whatever is asked. The length in each is set right: nobody guesses it.
pub fn ask(command: u8, answers: &[&[u8]]) -> Result<(), Error> {
    let (ours, mut theirs) = UnixStream::pair().expect("a socket");
    for answer in answers {
        let mut answer = answer.to_vec();
        let length = u32::try_from(answer.len()).expect("a short answer");
        if let Some(size) = answer.get_mut(2..6) {
            size.copy_from_slice(&length.to_be_bytes());
            theirs.write_all(&answer).expect("room in the socket");
        }
    }
    theirs.shutdown(Shutdown::Write).expect("a socket");
    let mut tpm = Tpm::new(Connection::Socket(ours));
    let (key, session, digest) = (0x8000_0001, 0x0300_0000, [1; 48]);
    match command % 9 {
        0 => tpm.read_public(key).map(drop),
        1 => tpm.read_registers([0]).map(drop),
        2 => tpm.nv_read(0x01c0_0002).map(drop),
        3 => tpm.start_policy().map(drop),
        4 => tpm.sign(key, session, &digest).map(drop),
        5 => tpm.unseal(key, session).map(drop),
        6 => tpm.quote(key, &digest[..32], [0, 13]).map(drop),
        7 => tpm.certify(key, key, &digest[..32]).map(drop),
        _ => tpm.activate_credential(key, key, session, &digest, &digest).map(drop),
    }
}

/// Good answers: for which command, the first, and a second where there are two.
pub fn good() -> Vec<(u8, Vec<u8>, Vec<u8>)> {
    let evidence = Evidence::parse(include_bytes!("../sample/platform.evidence")).expect("evidence");
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).expect("a short structure").to_be_bytes();
    // TPM2B: the length before it.
    let sized = |bytes: &[u8]| [&length(bytes)[..], bytes].concat();
    let plain = |body: &[u8]| [&[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0], body].concat();
    // The length of the parameters before them, and the answer to an empty password behind, or to two.
    let authorised = |body: &[u8], passwords: usize| {
        let head = [&[0x80, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &length(body)[..]].concat();
        [&head[..], body, &[0, 0, 1, 0, 0].repeat(passwords)].concat()
    };
    let name = sized(&[&[0, 0x0b], &[1; 32][..]].concat());
    let register =
        [&[0, 0, 0, 9, 0, 0, 0, 1, 0, 0x0b, 3, 1, 0, 0, 0, 0, 0, 1], &sized(&[7; 32])[..]].concat();
    let index = sized(&[0x01, 0xc0, 0, 2, 0, 0x0b, 0x42, 7, 0x20, 1, 0, 0, 0, 8]);
    let signature = [&[0, 0x18, 0, 0x0c], &sized(&[1; 48])[..], &sized(&[2; 48])].concat();
    let stated = |signed: &Signed, passwords| {
        authorised(&[sized(&signed.attest), signed.signature.clone()].concat(), passwords)
    };
    let one = |command, answer: Vec<u8>| (command, answer, Vec::new());
    vec![
        one(0, plain(&[sized(&evidence.ak), name.clone(), name.clone()].concat())),
        one(0, plain(&[sized(&evidence.ek), name.clone(), name.clone()].concat())),
        one(1, plain(&register)),
        (2, plain(&[index, name].concat()), authorised(&sized(&[3; 8]), 1)),
        // There is no such index.
        one(2, vec![0x80, 1, 0, 0, 0, 0, 0, 0, 1, 0x8b]),
        one(3, plain(&[&[3, 0, 0, 0], &sized(&[4; 32])[..]].concat())),
        one(4, authorised(&signature, 1)),
        one(5, authorised(&sized(&[5; 48]), 1)),
        one(6, stated(&evidence.quoted, 1)),
        one(7, stated(&evidence.certified, 2)),
        one(8, authorised(&sized(&[6; 32]), 2)),
    ]
}
