//! The control of the attack tests: an ordinary process that holds what a sealed guest holds.

fn main() -> std::io::Result<()> {
    casemate_attacks::holder::hold(&casemate_tests::secret())
}
