//! HMAC_DRBG with SHA-512 (NIST SP 800-90A Rev. 1, section 10.1.2).
//!
//! Only what a guest needs: no personalisation, and a reseed with every request, so no reseed counter either. The
//! state is replaced after each request: whoever reads it learns nothing about earlier output.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha512;
use zeroize::Zeroize;

/// Output length of SHA-512 in bytes.
const BLOCK: usize = 64;

/// The working state, K and V.
pub(crate) struct HmacDrbg {
    key: [u8; BLOCK],
    value: [u8; BLOCK],
}

impl HmacDrbg {
    /// HMAC_DRBG_Instantiate: `seed` is entropy input, nonce and personalisation, one after the other.
    pub(crate) fn new(seed: &[&[u8]]) -> Self {
        let mut drbg = Self { key: [0; BLOCK], value: [1; BLOCK] };
        drbg.update(seed);
        drbg
    }

    /// HMAC_DRBG_Reseed (the same computation as HMAC_DRBG_Update).
    pub(crate) fn reseed(&mut self, entropy: &[&[u8]]) {
        self.update(entropy);
    }

    /// HMAC_DRBG_Generate without additional input. A request beyond 2^16 bytes is answered in pieces.
    pub(crate) fn fill(&mut self, output: &mut [u8]) {
        for request in output.chunks_mut(1 << 16) {
            for piece in request.chunks_mut(BLOCK) {
                self.step();
                let (block, _) = self.value.split_at(piece.len());
                piece.copy_from_slice(block);
            }
            self.update(&[]);
        }
    }

    /// HMAC_DRBG_Update.
    fn update(&mut self, data: &[&[u8]]) {
        self.mix(0, data);
        if data.iter().any(|part| !part.is_empty()) {
            self.mix(1, data);
        }
    }

    /// K = HMAC(K, V ‖ marker ‖ data); V = HMAC(K, V).
    fn mix(&mut self, marker: u8, data: &[&[u8]]) {
        let mut mac = self.mac();
        mac.update(&self.value);
        mac.update(&[marker]);
        for part in data {
            mac.update(part);
        }
        self.key = mac.finalize().into_bytes().into();
        self.step();
    }

    /// V = HMAC(K, V).
    fn step(&mut self) {
        let mut mac = self.mac();
        mac.update(&self.value);
        self.value = mac.finalize().into_bytes().into();
    }

    fn mac(&self) -> Hmac<Sha512> {
        // 128 bytes is SHA-512's block: a key of 64 is padded with zeroes (FIPS 198-1, section 4).
        let mut block = [0; 2 * BLOCK];
        let (key, _) = block.split_at_mut(BLOCK);
        key.copy_from_slice(&self.key);
        let mac = Hmac::<Sha512>::new(&block.into());
        block.zeroize();
        mac
    }
}

impl Drop for HmacDrbg {
    fn drop(&mut self) {
        self.key.zeroize();
        self.value.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// RFC 6979, A.2.5: deterministic ECDSA draws its k from HMAC_DRBG, instantiated with the private key and the
    /// reduced hash. P-256 with SHA-512 and the message "sample".
    #[test]
    fn draws_the_k_of_rfc_6979() {
        use sha2::Digest;
        let private = bytes("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721");
        let hash = Sha512::digest(b"sample");
        let mut k = [0; 32];
        HmacDrbg::new(&[&private, &hash[..32]]).fill(&mut k);
        assert_eq!(k.to_vec(), bytes("5FA81C63109BADB88C1F367B47DA606DA28CAD69AA22C4FE6AD7DF73A7173AA5"));
    }

    #[test]
    fn output_never_repeats_and_depends_on_the_seed() {
        let mut drbg = HmacDrbg::new(&[b"seed"]);
        let [mut first, mut second, mut other] = [[0; 100]; 3];
        drbg.fill(&mut first);
        drbg.fill(&mut second);
        HmacDrbg::new(&[b"seeD"]).fill(&mut other);
        assert!(first != second && first != other && first != [0; 100]);
    }

    #[test]
    fn a_reseed_changes_what_follows() {
        let [mut with, mut without] = [[0; 32]; 2];
        let [mut one, mut other] = [HmacDrbg::new(&[b"seed"]), HmacDrbg::new(&[b"seed"])];
        one.reseed(&[b"more"]);
        one.fill(&mut with);
        other.fill(&mut without);
        assert_ne!(with, without);
    }
}
