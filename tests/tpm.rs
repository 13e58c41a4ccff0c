//! The platform key in a TPM, without a guest: the TPM itself (swtpm), its own tools and openssl say whether it is as promised.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use std::path::PathBuf;

use casemate_attestation::es384;
use casemate_attestation::platform::{Holder as _, KEY_FILE, PlatformKey, parse_root};
use casemate_tests::{Lab, SwTpm};
use casemate_tpm::chip::{self, Chip, Wish};
use casemate_tpm::credential::Challenge;
use casemate_tpm::evidence::{Enrolment, Evidence, EvidenceError, Expectations};
use casemate_tpm::pcr::{self, Value, Values};
use casemate_tpm::template;

const VMM: [u8; 48] = [7; 48];
const OTHER_VMM: [u8; 48] = [8; 48];

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn wish(tpm: &SwTpm) -> Wish {
    Wish { device: tpm.socket(), registers: pcr::BOOT.to_vec(), vmm_register: pcr::VMM, vmm_sha384: VMM }
}

/// A TPM with a platform key in it.
fn platform() -> (SwTpm, Lab, Chip) {
    let (tpm, lab) = (SwTpm::new(), Lab::new());
    let chip = Chip::init(&lab.path("home"), &wish(&tpm), now()).unwrap();
    (tpm, lab, chip)
}

fn authority(tpm: &SwTpm) -> Vec<Vec<u8>> {
    vec![parse_root(&std::fs::read(tpm.authority()).unwrap()).unwrap()]
}

/// What a verifier demands who has had the TPM answer its challenge.
fn expectations(tpm: &SwTpm, chip: &Chip, evidence: &Evidence) -> Expectations {
    let (challenge, kept) = Challenge::new(evidence, &authority(tpm), now()).unwrap();
    let enrolment = kept.check(&challenge.answer(chip).unwrap()).unwrap();
    Expectations {
        ek_roots: authority(tpm),
        enrolment: Some(enrolment),
        now: now(),
        ..Expectations::default()
    }
}

#[test]
fn the_key_is_made_in_the_tpm_and_used_there() {
    let (mut tpm, lab, chip) = platform();
    let platform =
        PlatformKey::held_by(Box::new(Chip::open(&lab.path("home")).unwrap()), &lab.path("home")).unwrap();
    assert_eq!(platform.root_of_trust(), "tpm");
    let public = template::p384(&chip.public().unwrap()).unwrap();
    let signature = platform.sign(b"a statement").unwrap();
    assert!(es384::verify_fixed(&public, b"a statement", &signature));
    assert!(!es384::verify_fixed(&public, b"another", &signature));
    // Somebody else's verifier takes the root certificate.
    lab.openssl(&["verify", "-check_ss_sig", "-CAfile", "home/root.pem", "home/root.pem"]);
    let derived = platform.derive(&[b"a", b"bc"]).unwrap();
    assert_eq!(derived, platform.derive(&[b"ab", b"c"]).unwrap());
    assert_ne!(derived, platform.derive(&[b"abd"]).unwrap());
    assert!(!lab.path("home").join(KEY_FILE).exists());
    // After a restart of the host, once the VMM has been measured again.
    tpm.restart();
    let refused = chip.secret().unwrap_err().to_string();
    assert!(refused.contains("PCR 13 of the TPM is 0000"), "{refused}");
    chip.admit(&VMM).unwrap();
    assert_eq!(derived, chip.derive(&[b"abc"]).unwrap());
    // A second key is not made in its place.
    let again = Chip::init(&lab.path("home"), &wish(&tpm), now()).unwrap_err();
    assert!(matches!(again, chip::Error::Exists(_)), "{again}");
}

/// The TPM's own tools agree about policy and registers, and with what the key may do.
#[test]
fn another_implementation_computes_the_same_policy() {
    let (tpm, lab) = (SwTpm::new(), Lab::new());
    // tpm2-tools take eight at most.
    let registers = vec![0, 1, 2, 3, 4, 5, 7];
    let chip = Chip::init(&lab.path("home"), &Wish { registers, ..wish(&tpm) }, now()).unwrap();
    tpm.tool("tpm2_createpolicy", &["--policy-pcr", "-l", "sha256:0,1,2,3,4,5,7,13", "-L", "policy"]);
    let policy = std::fs::read(tpm.path("policy")).unwrap();
    assert_eq!(pcr::policy(chip.registers()).to_vec(), policy);
    assert_eq!(chip.public().unwrap().auth_policy.to_vec(), policy);
    let shown = tpm.tool("tpm2_pcrread", &["sha256:13"]).to_lowercase();
    assert!(shown.contains(&pcr::of_vmm(&VMM).to_string()), "{shown}");
    let kept = tpm.tool("tpm2_getcap", &["handles-persistent"]);
    assert!(kept.to_lowercase().contains("0x8100ca5e"), "{kept}");
}

#[test]
fn another_boot_state_cannot_use_the_key() {
    for register in pcr::BOOT {
        if ![4, 7].contains(&register) {
            continue;
        }
        let (mut tpm, _lab, chip) = platform();
        tpm.extend(register);
        for refused in [chip.secret().map(|_| ()), chip.sign(b"m").map(|_| ())] {
            let refused = refused.unwrap_err();
            assert!(matches!(refused, chip::Error::State(_)), "{refused}");
            assert!(refused.to_string().contains(&format!("PCR {register} of the TPM is")), "{refused}");
        }
        // It was the boot, and not the key.
        tpm.restart();
        chip.admit(&VMM).unwrap();
        chip.secret().unwrap();
    }
}

#[test]
fn another_vmm_cannot_use_the_key() {
    let (mut tpm, lab, chip) = platform();
    let refused = chip.admit(&OTHER_VMM).unwrap_err().to_string();
    assert!(refused.contains("the platform key was made for the VMM with SHA-384 0707"), "{refused}");
    // One that believes itself the right one, because the file on disk says so, measures itself, and the TPM refuses.
    let file = lab.path("home").join(chip::FILE);
    let record = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, record.replace(&hex::encode(VMM), &hex::encode(OTHER_VMM))).unwrap();
    let forged = Chip::open(&lab.path("home")).unwrap();
    let refused = forged.admit(&OTHER_VMM).unwrap_err().to_string();
    assert!(refused.contains("PCR 13 holds something else"), "{refused}");
    tpm.restart();
    forged.admit(&OTHER_VMM).unwrap();
    assert!(matches!(forged.secret(), Err(chip::Error::State(_))));
    assert!(matches!(forged.sign(b"m"), Err(chip::Error::State(_))));
    // What a VMM has measured, no other can undo before the next start.
    assert!(chip.admit(&VMM).is_err());
    assert!(!tpm.try_tool("tpm2_pcrreset", &["13"]).0, "a register that holds the VMM can be set back");
    assert!(tpm.try_tool("tpm2_pcrreset", &["16"]).0, "the control: the debug register can");
}

/// As at the host's start, when many guests are launched at once: the VMM is measured once, and there is one root certificate.
#[test]
fn first_users_at_once_measure_once() {
    let (mut tpm, lab, chip) = platform();
    tpm.restart();
    std::fs::remove_file(lab.path("home/root.pem")).unwrap();
    let roots = std::thread::scope(|scope| {
        let user = || {
            let chip = Chip::open(&lab.path("home")).unwrap();
            chip.admit(&VMM).unwrap();
            chip.ensure_root(now()).unwrap();
            chip.root().unwrap()
        };
        let users: Vec<_> = (0..4).map(|_| scope.spawn(user)).collect();
        users.into_iter().map(|user| user.join().unwrap()).collect::<std::collections::BTreeSet<_>>()
    });
    assert_eq!(roots.len(), 1);
    assert_eq!(chip.difference().unwrap(), None);
}

#[test]
fn a_locked_key_is_used_by_nobody_before_the_next_start() {
    let (mut tpm, _lab, chip) = platform();
    chip.secret().unwrap();
    chip.lock().unwrap();
    assert!(matches!(chip.secret(), Err(chip::Error::State(_))));
    assert!(chip.admit(&VMM).unwrap_err().to_string().contains("the key was closed"));
    tpm.restart();
    chip.admit(&VMM).unwrap();
    chip.secret().unwrap();
}

#[test]
fn the_secret_goes_to_the_next_vmm_and_the_key_does_not() {
    let (mut tpm, lab, chip) = platform();
    let (secret, root) = (chip.secret().unwrap(), chip.root().unwrap());
    chip.update(OTHER_VMM, &Values::new()).unwrap();
    let updated = Chip::open(&lab.path("home")).unwrap();
    assert!(matches!(updated.admit(&VMM), Err(chip::Error::OtherVmm { .. })));
    tpm.restart();
    updated.admit(&OTHER_VMM).unwrap();
    updated.ensure_root(now()).unwrap();
    assert_eq!(secret, updated.secret().unwrap());
    assert_ne!(root, updated.root().unwrap());
    lab.openssl(&["verify", "-check_ss_sig", "-CAfile", "home/root.pem", "home/root.pem"]);
    let evidence = Evidence::gather(&updated, b"").unwrap();
    let mut demands = expectations(&tpm, &updated, &evidence);
    demands.vmm_sha384 = Some(OTHER_VMM);
    evidence.verify(&demands).unwrap();
    // Where another firmware was announced, this one no longer has the key.
    let next = Values::from([(0, Value([1; 32]))]);
    updated.update(OTHER_VMM, &next).unwrap();
    assert!(matches!(Chip::open(&lab.path("home")).unwrap().secret(), Err(chip::Error::State(_))));
    let unknown = Values::from([(9, Value([1; 32]))]);
    assert!(matches!(updated.update(OTHER_VMM, &unknown), Err(chip::Error::Registers(_))));
}

#[test]
fn wishes_that_would_protect_nothing_are_refused() {
    let (tpm, lab) = (SwTpm::new(), Lab::new());
    for (wish, reason) in [
        (Wish { vmm_register: 16, ..wish(&tpm) }, "PCR 16 can be set back without a restart"),
        (Wish { vmm_register: 7, ..wish(&tpm) }, "PCR 7 cannot be both"),
        (Wish { registers: vec![0, 24], ..wish(&tpm) }, "there is no PCR 24"),
        (Wish { device: PathBuf::from("/nonexistent"), ..wish(&tpm) }, "/nonexistent: No such file"),
        (Wish { device: PathBuf::from("/dev/null"), ..wish(&tpm) }, "not a TPM 2.0"),
    ] {
        let error = Chip::init(&lab.path("home"), &wish, now()).unwrap_err().to_string();
        assert!(error.contains(reason), "{reason}: {error}");
    }
    // Something else than a VMM was measured there.
    tpm.extend(pcr::VMM);
    let error = Chip::init(&lab.path("home"), &wish(&tpm), now()).unwrap_err().to_string();
    assert!(error.contains("PCR 13 holds something else"), "{error}");
    Chip::init(&lab.path("home"), &Wish { vmm_register: 14, ..wish(&tpm) }, now()).unwrap();
}

#[test]
fn the_whole_chain_is_proved_and_each_link_is_needed() {
    let (tpm, _lab, chip) = platform();
    let (other_tpm, _other_lab, other) = platform();
    let evidence = Evidence::gather(&chip, b"nonce").unwrap();
    assert_eq!(Evidence::parse(&evidence.encode()).unwrap(), evidence);
    let demands = Expectations { nonce: Some(b"nonce".to_vec()), ..expectations(&tpm, &chip, &evidence) };
    let established = evidence.verify(&demands).unwrap();
    assert_eq!(established.root, chip.root().unwrap());
    assert_eq!(established.vmm_sha384, hex::encode(VMM));

    let refused = |evidence: &Evidence, demands: &Expectations| evidence.verify(demands).unwrap_err();
    let foreign = Evidence::gather(&other, b"nonce").unwrap();
    // Demands that this platform does not meet.
    let error = refused(&evidence, &Expectations { ek_roots: authority(&other_tpm), ..demands.clone() });
    assert!(matches!(&error, EvidenceError::Endorsement(_)), "{error}");
    let error = refused(&evidence, &Expectations { enrolment: None, ..demands.clone() });
    assert!(matches!(error, EvidenceError::NotEnrolled), "{error}");
    let other_enrolment = expectations(&other_tpm, &other, &foreign).enrolment;
    let error = refused(&evidence, &Expectations { enrolment: other_enrolment, ..demands.clone() });
    assert!(matches!(error, EvidenceError::OtherTpm(_)), "{error}");
    let error = refused(&evidence, &Expectations { nonce: Some(b"mine".to_vec()), ..demands.clone() });
    assert!(matches!(error, EvidenceError::Nonce), "{error}");
    let registers = Values::from([(7, Value([1; 32]))]);
    let error = refused(&evidence, &Expectations { registers, ..demands.clone() }).to_string();
    assert!(error.contains("PCR 7 of the TPM is"), "{error}");
    let registers = Values::from([(9, Value([1; 32]))]);
    let error = refused(&evidence, &Expectations { registers, ..demands.clone() }).to_string();
    assert!(error.contains("PCR 9 of the TPM cannot be read"), "{error}");
    let error = refused(&evidence, &Expectations { vmm_sha384: Some(OTHER_VMM), ..demands.clone() });
    assert!(matches!(error, EvidenceError::Vmm { .. }), "{error}");
    let error = refused(&evidence, &Expectations { now: 0, ..demands.clone() });
    assert!(matches!(error, EvidenceError::Endorsement(_)), "{error}");

    // Pieces of another TPM's, or changed ones.
    type Change<'a> = &'a dyn Fn(&mut Evidence);
    let changes: [(Change<'_>, &str); 12] = [
        (&|e| e.ek = foreign.ek.clone(), "the EK is not the key of the EK certificate"),
        (&|e| e.ek_certificate = foreign.ek_certificate.clone(), "does not lead to an authority"),
        (&|e| e.ek = evidence.ak.clone(), "the EK is not one of RSA-2048"),
        (&|e| e.ak = foreign.ak.clone(), "it has another attestation key"),
        (&|e| e.ak = evidence.key.clone(), "not restricted to what its TPM made"),
        (&|e| e.key = foreign.key.clone(), "certificate of the platform key is about another key"),
        (&|e| e.root = foreign.root.clone(), "certificate of the platform key is about another root"),
        (&|e| e.certified = foreign.certified.clone(), "did not sign the certificate of the platform key"),
        (&|e| e.certified = evidence.quoted.clone(), "certificate of the platform key is about another root"),
        (&|e| e.quoted = foreign.quoted.clone(), "did not sign the quote"),
        (&|e| e.registers = Values::from([(0, Value([0; 32]))]), "with other values of the registers"),
        (&|e| e.vmm_sha384 = OTHER_VMM.to_vec(), "PCR 13 does not hold the measurement of the VMM"),
    ];
    for (change, reason) in changes {
        let mut changed = evidence.clone();
        change(&mut changed);
        let error = refused(&changed, &demands).to_string();
        assert!(error.contains(reason), "{reason}: {error}");
    }
    // The quote of another moment: signed by the same key, for another nonce.
    let mut changed = evidence.clone();
    changed.quoted = Evidence::gather(&chip, b"other").unwrap().quoted;
    assert!(matches!(refused(&changed, &demands), EvidenceError::Nonce));
}

/// Whatever byte is changed: nothing is believed, and nothing panics.
#[test]
fn damaged_evidence_is_refused() {
    let (tpm, _lab, chip) = platform();
    let evidence = Evidence::gather(&chip, b"").unwrap();
    let demands = expectations(&tpm, &chip, &evidence);
    evidence.verify(&demands).unwrap();
    let bytes = evidence.encode();
    for place in 0..bytes.len() {
        for change in [1, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[place] ^= change;
            if let Ok(damaged) = Evidence::parse(&damaged) {
                assert!(damaged.verify(&demands).is_err(), "a change of {change:#x} at {place} is not seen");
            }
        }
    }
    for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        assert!(Evidence::parse(&bytes[..length]).is_err());
    }
    assert!(Evidence::parse(&[&bytes[..], &[0]].concat()).is_err());
}

/// tpm2_checkquote, which knows nothing of Casemate, accepts the quote, and openssl what the TPM certified.
#[test]
fn another_verifier_accepts_the_quote() {
    let (tpm, _lab, chip) = platform();
    let evidence = Evidence::gather(&chip, b"for tpm2_checkquote").unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(tpm.path(name), bytes).unwrap();
    let tpm2b = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    write("ak.tpm2b", &tpm2b(&evidence.ak));
    tpm.tool("tpm2_print", &["-t", "TPM2B_PUBLIC", "-f", "pem", "ak.tpm2b"]);
    let pem = tpm.tool("tpm2_print", &["-t", "TPM2B_PUBLIC", "-f", "pem", "ak.tpm2b"]);
    let pem = &pem[pem.find("-----BEGIN").unwrap()..];
    write("ak.pem", pem.as_bytes());
    write("quote", &evidence.quoted.attest);
    write("signature", &evidence.quoted.signature);
    let nonce = hex::encode(casemate_tpm::evidence::qualification(&evidence.root, b"for tpm2_checkquote"));
    let arguments = ["-u", "ak.pem", "-m", "quote", "-s", "signature", "-g", "sha256", "-q"];
    tpm.tool("tpm2_checkquote", &[&arguments[..], &[&nonce]].concat());
    let other = "00".repeat(32);
    assert!(
        !tpm.try_tool("tpm2_checkquote", &[&arguments[..], &[&other]].concat()).0,
        "the control: another nonce"
    );
    let printed = tpm.tool("tpm2_print", &["-t", "TPMS_ATTEST", "quote"]);
    assert!(printed.contains(&hex::encode(pcr::composite(chip.registers()))), "{printed}");
}

/// A challenge that another implementation made is answered, and one for another key, or of another TPM, is not.
#[test]
fn a_challenge_is_answered_by_the_right_tpm_alone() {
    let (tpm, _lab, chip) = platform();
    let (_other_tpm, _other_lab, other) = platform();
    let evidence = Evidence::gather(&chip, b"").unwrap();
    let (challenge, kept) = Challenge::new(&evidence, &authority(&tpm), now()).unwrap();
    assert!(challenge.answer(&other).is_err(), "another TPM answers");
    let answer = challenge.answer(&chip).unwrap();
    let (_, kept_for_another) = Challenge::new(&evidence, &authority(&tpm), now()).unwrap();
    assert!(kept_for_another.check(&answer).is_none(), "an answer to another challenge");
    let enrolment: Enrolment = kept.check(&answer).unwrap();
    assert_eq!(enrolment.ak_name, evidence.ak_name().unwrap());

    let tpm2b = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    std::fs::write(tpm.path("ek.tpm2b"), tpm2b(&evidence.ek)).unwrap();
    std::fs::write(tpm.path("value"), [9; 32]).unwrap();
    let name = hex::encode(&enrolment.ak_name);
    tpm.tool(
        "tpm2_makecredential",
        &["-u", "ek.tpm2b", "-s", "value", "-n", &name, "-o", "theirs", "-T", "none"],
    );
    let theirs = std::fs::read(tpm.path("theirs")).unwrap();
    // tpm2-tools: magic and version, then both structures.
    let (blob, rest) = sized(&theirs[8..]);
    let (secret, _) = sized(rest);
    let theirs = Challenge { blob: blob.to_vec(), secret: secret.to_vec() };
    assert_eq!(serde_json::to_value(theirs.answer(&chip).unwrap()).unwrap()["value"], hex::encode([9; 32]));

    // For a key that is not in the TPM, whatever else is right.
    let mut other_name = evidence.clone();
    other_name.ak = Evidence::gather(&other, b"").unwrap().ak;
    let (wrong, _) = Challenge::new(&other_name, &authority(&tpm), now()).unwrap();
    assert!(wrong.answer(&chip).is_err());
}

fn sized(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = bytes.split_first_chunk::<2>().unwrap();
    rest.split_at(usize::from(u16::from_be_bytes(*length)))
}

#[test]
fn counters_go_one_way() {
    let (mut tpm, _lab, chip) = platform();
    let (one, two) = ([1; 16], [2; 16]);
    assert_eq!(chip.count(&one).unwrap(), None);
    let first = chip.increment(&one).unwrap();
    assert_eq!(chip.increment(&one).unwrap(), first + 1);
    let of_two = chip.increment(&two).unwrap();
    assert_eq!(chip.count(&one).unwrap(), Some(first + 1));
    tpm.restart();
    assert_eq!(chip.count(&one).unwrap(), Some(first + 1));
    assert_eq!(chip.count(&two).unwrap(), Some(of_two));
    // The TPM's own tools see them, and even its owner cannot turn one back by making it again.
    let listed = tpm.tool("tpm2_nvreadpublic", &[]);
    let index =
        listed.lines().find(|line| line.starts_with("0x18")).unwrap().trim_end_matches(':').to_owned();
    for volume in [one, two] {
        let highest = chip.count(&volume).unwrap().unwrap();
        let written = tpm.try_tool("tpm2_nvwrite", &[&index, "-i", "ca/issuercert.pem"]);
        assert!(!written.0, "a counter can be written");
        assert_eq!(chip.count(&volume).unwrap(), Some(highest));
    }
    let highest = [one, two].map(|volume| chip.count(&volume).unwrap().unwrap()).into_iter().max().unwrap();
    for index in listed.lines().filter(|line| line.starts_with("0x18")) {
        tpm.tool("tpm2_nvundefine", &[index.trim_end_matches(':'), "-C", "o"]);
    }
    assert_eq!(chip.count(&one).unwrap(), None);
    assert!(chip.increment(&one).unwrap() > highest, "a counter that was made again starts lower");
}
