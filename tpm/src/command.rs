//! The commands that are used here, typed. What the TPM answers is checked for form, and believed.
//!
//! Objects and sessions that are loaded are let go again whatever happens ([`Tpm::holding`]): an emulator behind a socket has
//! three places for them and nobody who tidies up.

use std::io;
use std::time::Duration;

use tpm2_protocol::data::{
    Tpm2bAuth, Tpm2bData, Tpm2bDigest, Tpm2bEncryptedSecret, Tpm2bEvent, Tpm2bIdObject, Tpm2bMaxNvBuffer,
    Tpm2bNonce, Tpm2bNvPublic, Tpm2bPrivate, Tpm2bPublic, Tpm2bSensitiveCreate, Tpm2bSensitiveData, TpmAlgId,
    TpmRc, TpmRcBase, TpmRh, TpmSe, TpmSt, TpmaNv, TpmaSession, TpmlPcrSelection, TpmsAuthCommand,
    TpmsNvPublic, TpmsSensitiveCreate, TpmtPublic, TpmtSigScheme, TpmtSignature, TpmtSymDefObject,
    TpmtTkHashcheck,
};
use tpm2_protocol::frame::{
    TpmActivateCredentialCommand, TpmActivateCredentialResponse, TpmCertifyCommand, TpmCertifyResponse,
    TpmCreateCommand, TpmCreatePrimaryCommand, TpmCreatePrimaryResponse, TpmCreateResponse,
    TpmEvictControlCommand, TpmEvictControlResponse, TpmFlushContextCommand, TpmFlushContextResponse,
    TpmFrame, TpmLoadCommand, TpmLoadResponse, TpmNvDefineSpaceCommand, TpmNvDefineSpaceResponse,
    TpmNvIncrementCommand, TpmNvIncrementResponse, TpmNvReadCommand, TpmNvReadPublicCommand,
    TpmNvReadPublicResponse, TpmNvReadResponse, TpmPcrEventCommand, TpmPcrEventResponse, TpmPcrReadCommand,
    TpmPcrReadResponse, TpmPolicyPcrCommand, TpmPolicyPcrResponse, TpmPolicySecretCommand,
    TpmPolicySecretResponse, TpmQuoteCommand, TpmQuoteResponse, TpmReadPublicCommand, TpmReadPublicResponse,
    TpmResponse, TpmSignCommand, TpmSignResponse, TpmStartAuthSessionCommand, TpmStartAuthSessionResponse,
    TpmUnmarshalBody, TpmUnsealCommand, TpmUnsealResponse, tpm_marshal_command,
};
use tpm2_protocol::{TpmMarshal, TpmWriter, constant::TPM_MAX_COMMAND_SIZE};
use zeroize::Zeroizing;

use crate::device::Connection;
use crate::pcr::{self, Value, Values};

/// How often a TPM that is busy is asked again, and after how long.
const RETRIES: u32 = 60;
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes that every TPM reads from NV memory at once.
const NV_PIECE: u16 = 512;
/// Longest NV area that is read: the EK's certificate.
const NV_MAX: u16 = 8192;

/// Why a TPM did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be talked to.
    #[error("the TPM does not answer: {0}")]
    Io(#[from] io::Error),
    /// It refused.
    #[error("the TPM refused to {what}: {code}")]
    Refused {
        /// The command, as in "refused to ...".
        what: &'static str,
        /// Its response code.
        code: TpmRc,
    },
    /// What it, or whoever speaks for it, sent is malformed.
    #[error("not a TPM structure: {0}")]
    Malformed(String),
}

impl From<tpm2_protocol::TpmError> for Error {
    fn from(error: tpm2_protocol::TpmError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl Error {
    /// Whether the TPM refused for this reason.
    pub fn is(&self, reason: TpmRcBase) -> bool {
        matches!(self, Self::Refused { code, .. } if code.base() == reason)
    }
}

/// The encoding of a structure.
pub fn bytes(value: &impl TpmMarshal) -> Result<Vec<u8>, Error> {
    let mut buffer = [0; TPM_MAX_COMMAND_SIZE];
    let mut writer = TpmWriter::new(&mut buffer);
    value.marshal(&mut writer)?;
    Ok(writer.as_bytes().to_vec())
}

/// A handle: of an object, a session, a register, an NV index or a hierarchy.
pub type Handle = u32;

/// What an attestation key signed, and its signature.
pub type Attested = (Vec<u8>, TpmtSignature);

/// A TPM that is being talked to.
#[derive(Debug)]
pub struct Tpm(Connection);

impl Tpm {
    /// The TPM at the other end.
    pub fn new(connection: Connection) -> Self {
        Self(connection)
    }

    fn run<R: TpmUnmarshalBody>(
        &mut self,
        what: &'static str,
        command: &impl TpmFrame,
        sessions: &[TpmsAuthCommand],
    ) -> Result<R, Error> {
        let mut buffer = Zeroizing::new([0; TPM_MAX_COMMAND_SIZE]);
        let mut writer = TpmWriter::new(&mut *buffer);
        let tag = if sessions.is_empty() { TpmSt::NoSessions } else { TpmSt::Sessions };
        tpm_marshal_command(command, tag, sessions, &mut writer)?;
        for _ in 0..RETRIES {
            let answer = self.0.transact(writer.as_bytes())?;
            let response = TpmResponse::cast(&answer)?;
            match response.rc()? {
                TpmRc::Fmt0(TpmRcBase::Success) => return Ok(response.unmarshal::<R>()?),
                TpmRc::Warn(
                    TpmRcBase::Retry | TpmRcBase::Yielded | TpmRcBase::Testing | TpmRcBase::NvRate,
                ) => {
                    std::thread::sleep(PAUSE);
                }
                code => return Err(Error::Refused { what, code }),
            }
        }
        Err(Error::Io(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("it has been too busy to {what} for {RETRIES} tries"),
        )))
    }

    /// Does something with a loaded object or session, and lets go of it.
    pub fn holding<R, E: From<Error>>(
        &mut self,
        handle: Handle,
        work: impl FnOnce(&mut Self) -> Result<R, E>,
    ) -> Result<R, E> {
        let done = work(self);
        let flushed = self.flush(handle);
        let done = done?;
        flushed?;
        Ok(done)
    }

    fn flush(&mut self, handle: Handle) -> Result<(), Error> {
        let command = TpmFlushContextCommand { handles: [], flush_handle: handle.into() };
        self.run::<TpmFlushContextResponse>("let go of an object", &command, &[]).map(|_| ())
    }

    /// Makes a primary key of a hierarchy; the same template gives the same key. Its handle is to be let go.
    pub fn create_primary(
        &mut self,
        hierarchy: TpmRh,
        template: &TpmtPublic,
    ) -> Result<(Handle, TpmtPublic), Error> {
        let command = TpmCreatePrimaryCommand {
            handles: [(hierarchy as u32).into()],
            in_sensitive: Tpm2bSensitiveCreate::default(),
            in_public: Tpm2bPublic { inner: template.clone() },
            outside_info: Tpm2bData::default(),
            creation_pcr: TpmlPcrSelection::new(),
        };
        let made: TpmCreatePrimaryResponse = self.run("make a primary key", &command, &[password()])?;
        let [handle] = made.handles;
        Ok((handle.value(), made.out_public.inner))
    }

    /// Makes an object under `parent`: a key, or `data` that is sealed. Returns its private part, which only this TPM can
    /// read, and its public one.
    pub fn create(
        &mut self,
        parent: Handle,
        public: &TpmtPublic,
        data: &[u8],
    ) -> Result<(Vec<u8>, TpmtPublic), Error> {
        let sensitive = TpmsSensitiveCreate {
            user_auth: Tpm2bAuth::default(),
            data: Tpm2bSensitiveData::try_from(data)?,
        };
        let command = TpmCreateCommand {
            handles: [parent.into()],
            in_sensitive: Tpm2bSensitiveCreate { inner: sensitive },
            in_public: Tpm2bPublic { inner: public.clone() },
            outside_info: Tpm2bData::default(),
            creation_pcr: TpmlPcrSelection::new(),
        };
        let made: TpmCreateResponse = self.run("make a key", &command, &[password()])?;
        Ok((made.out_private.to_vec(), made.out_public.inner))
    }

    /// Loads an object. Its handle is to be let go.
    pub fn load(&mut self, parent: Handle, private: &[u8], public: &TpmtPublic) -> Result<Handle, Error> {
        let command = TpmLoadCommand {
            handles: [parent.into()],
            in_private: Tpm2bPrivate::try_from(private)?,
            in_public: Tpm2bPublic { inner: public.clone() },
        };
        let loaded: TpmLoadResponse = self.run("load a key", &command, &[password()])?;
        let [handle] = loaded.handles;
        Ok(handle.value())
    }

    /// Keeps a primary key of the owner's under `persistent` from now on.
    pub fn persist(&mut self, object: Handle, persistent: Handle) -> Result<(), Error> {
        let command = TpmEvictControlCommand {
            handles: [(TpmRh::Owner as u32).into(), object.into()],
            persistent_handle: persistent.into(),
        };
        self.run::<TpmEvictControlResponse>("keep a key", &command, &[password()]).map(|_| ())
    }

    /// The public area under a handle.
    pub fn read_public(&mut self, handle: Handle) -> Result<TpmtPublic, Error> {
        let command = TpmReadPublicCommand { handles: [handle.into()] };
        let read: TpmReadPublicResponse = self.run("show a public key", &command, &[])?;
        Ok(read.out_public.inner)
    }

    /// A policy session, in which nothing has been shown yet. To be let go.
    pub fn start_policy(&mut self) -> Result<Handle, Error> {
        let nonce = [0_u8; 32];
        let command = TpmStartAuthSessionCommand {
            handles: [(TpmRh::Null as u32).into(), (TpmRh::Null as u32).into()],
            // Policies need no freshness of the caller's: there is no HMAC.
            nonce_caller: Tpm2bNonce::try_from(&nonce[..])?,
            encrypted_salt: Tpm2bEncryptedSecret::default(),
            session_type: TpmSe::Policy,
            symmetric: TpmtSymDefObject { algorithm: TpmAlgId::Null, ..TpmtSymDefObject::default() },
            auth_hash: TpmAlgId::Sha256,
        };
        let started: TpmStartAuthSessionResponse = self.run("start a session", &command, &[])?;
        let [handle] = started.handles;
        Ok(handle.value())
    }

    /// Shows in a session what these registers hold.
    pub fn policy_pcr(
        &mut self,
        session: Handle,
        registers: impl IntoIterator<Item = u8>,
    ) -> Result<(), Error> {
        let command = TpmPolicyPcrCommand {
            handles: [session.into()],
            pcr_digest: Tpm2bDigest::default(),
            pcrs: pcr::selection(registers),
        };
        self.run::<TpmPolicyPcrResponse>("look at its registers", &command, &[]).map(|_| ())
    }

    /// Shows in a session the authorisation of the endorsement hierarchy, which is empty.
    pub fn policy_endorsement(&mut self, session: Handle) -> Result<(), Error> {
        let command = TpmPolicySecretCommand {
            handles: [(TpmRh::Endorsement as u32).into(), session.into()],
            ..TpmPolicySecretCommand::default()
        };
        self.run::<TpmPolicySecretResponse>("use its endorsement hierarchy", &command, &[password()])
            .map(|_| ())
    }

    /// Signs a SHA-384 digest with the scheme of the key, authorised by a session.
    pub fn sign(&mut self, key: Handle, session: Handle, digest: &[u8]) -> Result<TpmtSignature, Error> {
        let command = TpmSignCommand {
            handles: [key.into()],
            digest: Tpm2bDigest::try_from(digest)?,
            in_scheme: TpmtSigScheme::default(),
            validation: TpmtTkHashcheck {
                tag: TpmSt::HashCheck,
                hierarchy: TpmRh::Null,
                digest: Tpm2bDigest::default(),
            },
        };
        let signed: TpmSignResponse = self.run("sign with the platform key", &command, &[by(session)])?;
        Ok(signed.signature)
    }

    /// The secret that was sealed, authorised by a session.
    pub fn unseal(&mut self, object: Handle, session: Handle) -> Result<Zeroizing<Vec<u8>>, Error> {
        let command = TpmUnsealCommand { handles: [object.into()] };
        let unsealed: TpmUnsealResponse =
            self.run("give out the platform's secret", &command, &[by(session)])?;
        Ok(Zeroizing::new(unsealed.out_data.to_vec()))
    }

    /// Has the attestation key state what the registers hold.
    pub fn quote(
        &mut self,
        key: Handle,
        data: &[u8],
        registers: impl IntoIterator<Item = u8>,
    ) -> Result<Attested, Error> {
        let command = TpmQuoteCommand {
            handles: [key.into()],
            qualifying_data: Tpm2bData::try_from(data)?,
            in_scheme: TpmtSigScheme::default(),
            pcr_select: pcr::selection(registers),
        };
        let quoted: TpmQuoteResponse = self.run("quote its registers", &command, &[password()])?;
        Ok((bytes(&quoted.quoted.inner)?, quoted.signature))
    }

    /// Has the attestation key state that an object is in this TPM.
    pub fn certify(&mut self, object: Handle, key: Handle, data: &[u8]) -> Result<Attested, Error> {
        let command = TpmCertifyCommand {
            handles: [object.into(), key.into()],
            qualifying_data: Tpm2bData::try_from(data)?,
            in_scheme: TpmtSigScheme::default(),
        };
        // The object's own authorisation is of the ADMIN role: its password, which is empty, and not its policy.
        let certified: TpmCertifyResponse =
            self.run("certify the platform key", &command, &[password(), password()])?;
        Ok((bytes(&certified.certify_info.inner)?, certified.signature))
    }

    /// What the registers hold.
    pub fn read_registers(&mut self, registers: impl IntoIterator<Item = u8>) -> Result<Values, Error> {
        let mut values = Values::new();
        for register in registers {
            let command = TpmPcrReadCommand { handles: [], pcr_selection_in: pcr::selection([register]) };
            let read: TpmPcrReadResponse = self.run("read a register", &command, &[])?;
            let value = read.pcr_values.first().and_then(|value| <[u8; pcr::LEN]>::try_from(&value[..]).ok());
            let absent = || Error::Malformed(format!("the TPM has no PCR {register} with SHA-256"));
            values.insert(register, Value(value.ok_or_else(absent)?));
        }
        Ok(values)
    }

    /// Measures `event` into a register, in every bank.
    pub fn measure(&mut self, register: u8, event: &[u8]) -> Result<(), Error> {
        let command = TpmPcrEventCommand {
            handles: [u32::from(register).into()],
            event_data: Tpm2bEvent::try_from(event)?,
        };
        self.run::<TpmPcrEventResponse>("measure", &command, &[password()]).map(|_| ())
    }

    /// Opens a credential that was made for `key`, with the endorsement key and a session for it.
    pub fn activate_credential(
        &mut self,
        key: Handle,
        endorsement: Handle,
        session: Handle,
        blob: &[u8],
        secret: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let command = TpmActivateCredentialCommand {
            handles: [key.into(), endorsement.into()],
            credential_blob: Tpm2bIdObject::try_from(blob)?,
            secret: Tpm2bEncryptedSecret::try_from(secret)?,
        };
        let opened: TpmActivateCredentialResponse =
            self.run("open the challenge", &command, &[password(), by(session)])?;
        Ok(opened.cert_info.to_vec())
    }

    /// What is known of an NV index; `None` if it is not defined.
    pub fn nv_public(&mut self, index: Handle) -> Result<Option<TpmsNvPublic>, Error> {
        let command = TpmNvReadPublicCommand { handles: [index.into()] };
        match self.run::<TpmNvReadPublicResponse>("look at its NV memory", &command, &[]) {
            Ok(read) => Ok(Some(read.nv_public.inner)),
            Err(error) if error.is(TpmRcBase::Handle) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is in an NV index; `None` if it is not defined.
    pub fn nv_read(&mut self, index: Handle) -> Result<Option<Vec<u8>>, Error> {
        let Some(public) = self.nv_public(index)? else { return Ok(None) };
        let size = public.data_size.value();
        if size > NV_MAX {
            return Err(Error::Malformed(format!("NV index {index:#x} has {size} bytes; {NV_MAX} are read")));
        }
        let mut contents = Vec::new();
        for offset in (0..size).step_by(usize::from(NV_PIECE)) {
            let piece = size.saturating_sub(offset).min(NV_PIECE);
            let command = TpmNvReadCommand {
                handles: [index.into(), index.into()],
                size: piece.into(),
                offset: offset.into(),
            };
            let read: TpmNvReadResponse = self.run("read its NV memory", &command, &[password()])?;
            let data: &Tpm2bMaxNvBuffer = &read.data;
            contents.extend_from_slice(data);
        }
        Ok(Some(contents))
    }

    /// Defines an NV index of the owner's.
    pub fn nv_define(
        &mut self,
        index: Handle,
        attributes: TpmaNv,
        policy: &[u8],
        size: u16,
    ) -> Result<(), Error> {
        let public = TpmsNvPublic {
            nv_index: index.into(),
            name_alg: TpmAlgId::Sha256,
            attributes,
            auth_policy: Tpm2bDigest::try_from(policy)?,
            data_size: size.into(),
        };
        let command = TpmNvDefineSpaceCommand {
            handles: [(TpmRh::Owner as u32).into()],
            auth: Tpm2bAuth::default(),
            public_info: Tpm2bNvPublic { inner: public },
        };
        self.run::<TpmNvDefineSpaceResponse>("define a counter", &command, &[password()]).map(|_| ())
    }

    /// Moves a counter on by one.
    pub fn nv_increment(&mut self, index: Handle) -> Result<(), Error> {
        let command = TpmNvIncrementCommand { handles: [index.into(), index.into()] };
        self.run::<TpmNvIncrementResponse>("move a counter on", &command, &[password()]).map(|_| ())
    }
}

/// The empty password.
fn password() -> TpmsAuthCommand {
    by(TpmRh::Pw as u32)
}

/// Authorised by this session, which lives on.
fn by(session: Handle) -> TpmsAuthCommand {
    TpmsAuthCommand {
        session_handle: session.into(),
        nonce: Tpm2bNonce::default(),
        session_attributes: TpmaSession::CONTINUE_SESSION,
        hmac: Tpm2bAuth::default(),
    }
}
