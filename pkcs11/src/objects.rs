//! Objects: made, found, read, changed, destroyed, wrapped. What templates and attributes mean, the token decides; here it
//! is only seen to that a read-only session changes no token objects, and that session objects end with their session.

use casemate_hsm::limits::{FIND_MAX, GET_MAX, OBJECTS_MAX, RANDOM_MAX};
use casemate_hsm::message::Attributes;
use casemate_hsm::{Attribute, Bytes, Mechanism, Operation, Request, Template, attribute, ck};
use cryptoki_sys as sys;

use crate::ffi::Output;
use crate::rv::{Result, Rv, ensure};
use crate::session::{Session, Wrapped};
use crate::sync::lock;

/// Whether a template is of a token object; if it does not say, `otherwise`.
fn is_on_token(template: &[Attribute], otherwise: bool) -> bool {
    let stated = template.iter().find(|attribute| attribute.kind == ck::CKA_TOKEN);
    stated.and_then(|attribute| attribute::flag(attribute.value.as_ref()?)).unwrap_or(otherwise)
}

impl Session {
    /// Asks for new objects, and remembers those that end with this session.
    fn make(&self, operation: Operation, request: Request) -> Result<(Option<u64>, u64)> {
        let on_token =
            |template: &Option<Template>| is_on_token(template.as_deref().unwrap_or_default(), false);
        let (public, other) = (on_token(&request.public_template), on_token(&request.template));
        ensure(self.read_write || !(public || other), ck::CKR_SESSION_READ_ONLY)?;
        let response = self.token.call(operation, request)?;
        let object = response.object.ok_or(Rv(ck::CKR_DEVICE_ERROR))?;
        let of_session = [(response.public_object, public), (Some(object), other)];
        let of_session = of_session.into_iter().filter_map(|(object, on_token)| object.filter(|_| !on_token));
        lock(&self.work).objects.extend(of_session);
        Ok((response.public_object, object))
    }

    /// C_CreateObject.
    pub fn create_object(&self, template: Template) -> Result<u64> {
        let request = Request { template: Some(template), ..Request::default() };
        Ok(self.make(Operation::CreateObject, request)?.1)
    }

    /// C_CopyObject.
    pub fn copy_object(&self, object: u64, template: Template) -> Result<u64> {
        // A copy is where the original is, unless the template says otherwise.
        let on_token = match template.iter().any(|attribute| attribute.kind == ck::CKA_TOKEN) {
            true => is_on_token(&template, false),
            false => self.is_token_object(object)?,
        };
        ensure(self.read_write || !on_token, ck::CKR_SESSION_READ_ONLY)?;
        let request = Request { object: Some(object), template: Some(template), ..Request::default() };
        let copy = self.token.call(Operation::CopyObject, request)?.object;
        let copy = copy.ok_or(Rv(ck::CKR_DEVICE_ERROR))?;
        if !on_token {
            lock(&self.work).objects.push(copy);
        }
        Ok(copy)
    }

    fn is_token_object(&self, object: u64) -> Result<bool> {
        let told = self.attributes(object, &[ck::CKA_TOKEN])?;
        ensure(told.rv == ck::CKR_OK, told.rv)?;
        Ok(is_on_token(&told.template, true))
    }

    /// Whether this session may change the object.
    fn may_change(&self, object: u64) -> Result<()> {
        ensure(self.read_write || !self.is_token_object(object)?, ck::CKR_SESSION_READ_ONLY)
    }

    /// C_DestroyObject.
    pub fn destroy_object(&self, object: u64) -> Result<()> {
        self.may_change(object)?;
        let request = Request { object: Some(object), ..Request::default() };
        self.token.call(Operation::DestroyObject, request)?;
        self.token.changed(object);
        lock(&self.work).objects.retain(|other| *other != object);
        Ok(())
    }

    /// What the token tells of an object.
    pub fn attributes(&self, object: u64, types: &[u64]) -> Result<Attributes> {
        let mut all = Attributes::default();
        let mut rest = types;
        // Once without types too: is the handle good?
        loop {
            let (now, later) = rest.split_at(rest.len().min(GET_MAX));
            let request =
                Request { objects: Some(vec![object]), types: Some(now.to_vec()), ..Request::default() };
            let told = self.token.call(Operation::GetAttributes, request)?.attributes;
            let mut told = told.and_then(|mut told| told.pop()).ok_or(Rv(ck::CKR_DEVICE_ERROR))?;
            ensure(told.rv != ck::CKR_OBJECT_HANDLE_INVALID, ck::CKR_OBJECT_HANDLE_INVALID)?;
            let as_asked = told.template.iter().map(|attribute| attribute.kind).eq(now.iter().copied());
            ensure(as_asked, ck::CKR_DEVICE_ERROR)?;
            all.template.append(&mut told.template);
            if all.rv == ck::CKR_OK {
                all.rv = told.rv;
            }
            rest = later;
            if rest.is_empty() {
                return Ok(all);
            }
        }
    }

    /// C_SetAttributeValue.
    pub fn set_attributes(&self, object: u64, template: Template) -> Result<()> {
        self.may_change(object)?;
        let request = Request { object: Some(object), template: Some(template), ..Request::default() };
        self.token.call(Operation::SetAttributes, request)?;
        self.token.changed(object);
        Ok(())
    }

    /// C_FindObjectsInit.
    pub fn find_init(&self, template: &Template) -> Result<()> {
        ensure(lock(&self.work).found.is_none(), sys::CKR_OPERATION_ACTIVE)?;
        let mut found = Vec::new();
        let mut marker = None;
        loop {
            let request = Request {
                template: Some(template.clone()),
                max_results: Some(FIND_MAX),
                marker,
                ..Request::default()
            };
            let page = self.token.call(Operation::FindObjects, request)?;
            found.extend(page.objects.unwrap_or_default());
            marker = page.next_marker;
            // Whatever the token says, this ends.
            if marker.is_none() || found.len() > 2 * OBJECTS_MAX {
                break;
            }
        }
        lock(&self.work).found = Some(found.into_iter());
        Ok(())
    }

    /// C_FindObjects.
    pub fn find(&self, most: usize) -> Result<Vec<u64>> {
        let mut work = lock(&self.work);
        let found = work.found.as_mut().ok_or(Rv(ck::CKR_OPERATION_NOT_INITIALIZED))?;
        Ok(found.by_ref().take(most).collect())
    }

    /// C_FindObjectsFinal.
    pub fn find_final(&self) -> Result<()> {
        ensure(lock(&self.work).found.take().is_some(), ck::CKR_OPERATION_NOT_INITIALIZED)
    }

    /// C_GenerateKey.
    pub fn generate_key(&self, mechanism: Mechanism, template: Template) -> Result<u64> {
        self.token.mechanism(mechanism.kind, ck::CKF_GENERATE)?;
        let request = Request { mechanism: Some(mechanism), template: Some(template), ..Request::default() };
        Ok(self.make(Operation::GenerateKey, request)?.1)
    }

    /// C_GenerateKeyPair: the public key, and the private.
    pub fn generate_key_pair(
        &self,
        mechanism: Mechanism,
        public: Template,
        private: Template,
    ) -> Result<(u64, u64)> {
        self.token.mechanism(mechanism.kind, ck::CKF_GENERATE_KEY_PAIR)?;
        let request = Request {
            mechanism: Some(mechanism),
            public_template: Some(public),
            template: Some(private),
            ..Request::default()
        };
        let (public, private) = self.make(Operation::GenerateKeyPair, request)?;
        Ok((public.ok_or(Rv(ck::CKR_DEVICE_ERROR))?, private))
    }

    /// C_WrapKey. What a caller only asked the length of is kept for the call that follows: an approval of a quorum is good once.
    pub fn wrap_key(&self, mechanism: Mechanism, wrapping: u64, key: u64, output: &mut Output) -> Result<()> {
        self.token.mechanism(mechanism.kind, ck::CKF_WRAP)?;
        let request = Request {
            mechanism: Some(mechanism.clone()),
            wrapping_object: Some(wrapping),
            object: Some(key),
            ..Request::default()
        };
        let what = (self.token.user(), mechanism, wrapping, key);
        let kept = lock(&self.work).wrapped.take().filter(|kept| kept.what == what);
        let data = match kept {
            Some(kept) => kept.data,
            None => self.token.call(Operation::WrapKey, request)?.data.ok_or(Rv(ck::CKR_DEVICE_ERROR))?,
        };
        let result = output.put(&data);
        if output.is_query() || result.is_err() {
            lock(&self.work).wrapped = Some(Wrapped { what, data });
        }
        result
    }

    /// C_UnwrapKey.
    pub fn unwrap_key(
        &self,
        mechanism: Mechanism,
        unwrapping: u64,
        wrapped: Bytes,
        template: Template,
    ) -> Result<u64> {
        self.token.mechanism(mechanism.kind, ck::CKF_UNWRAP)?;
        let request = Request {
            mechanism: Some(mechanism),
            wrapping_object: Some(unwrapping),
            data: Some(wrapped),
            template: Some(template),
            ..Request::default()
        };
        Ok(self.make(Operation::UnwrapKey, request)?.1)
    }

    /// C_DeriveKey.
    pub fn derive_key(&self, mechanism: Mechanism, base: u64, template: Template) -> Result<u64> {
        self.token.mechanism(mechanism.kind, ck::CKF_DERIVE)?;
        let request = Request {
            mechanism: Some(mechanism),
            object: Some(base),
            template: Some(template),
            ..Request::default()
        };
        Ok(self.make(Operation::DeriveKey, request)?.1)
    }

    /// C_GenerateRandom.
    pub fn random(&self, length: usize) -> Result<Bytes> {
        let mut all = Bytes::default();
        while all.len() < length {
            let wanted = u64::try_from(length - all.len()).unwrap_or(u64::MAX).min(RANDOM_MAX);
            let request = Request { length: Some(wanted), ..Request::default() };
            let random = self.token.call(Operation::Random, request)?.data.unwrap_or_default();
            ensure(u64::try_from(random.len()) == Ok(wanted), ck::CKR_DEVICE_ERROR)?;
            all.extend_from_slice(&random);
        }
        Ok(all)
    }
}
