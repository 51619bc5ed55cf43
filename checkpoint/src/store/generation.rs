//! Who owns the job: trying the store out, claiming a generation, noticing a newer one.
//!
//! A run puts the token of the next generation if it is absent; the put is the claim. Tokens stay,
//! except those far below the newest, so that a run which comes to look sees the newer ones.
//!
//! # Invariants
//!
//! * **G1** The newest token is never deleted, so the newest generation never goes back.
//! * **G2** A run starts with a generation that nobody had before. Checked after the claim: a token
//!   that was deleted as old could be put again by a starter that had listed long ago.

#![expect(clippy::disallowed_methods, reason = "says in the token when it was written")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use object_store::PutMode;
use serde::{Deserialize, Serialize};

use super::retry::{Failure, Request};
use super::{BlobStore, PutIfAbsent, layout};
use crate::error::{Error, Result};
use crate::metadata::Generation;

/// How many tokens below the newest are kept: for people, who see who ran when.
const TOKENS_KEPT: u64 = 16;

/// A fencing token: for people, for the put that compares it with its own, and for a process that
/// claims again and asks whether somebody else did meanwhile.
#[derive(Serialize)]
struct Token<'a> {
    claimant: &'a str,
    generation: Generation,
    host: String,
    pid: u32,
    started_ms: u64,
    claim: String,
}

impl BlobStore {
    /// Finds out whether the store keeps put-if-absent's promise, on which fencing rests.
    ///
    /// Puts an object twice, under a name that is used once, and deletes it.
    ///
    /// # Errors
    ///
    /// `Invalid`, with what the store did, if it let the second put through, cannot put if absent
    /// at all, or gives back other bytes than were put. Else as [`BlobStore::put`].
    pub async fn probe(&self) -> Result<()> {
        let name = format!("{}/{}", layout::PROBES, unique());
        let outcome = self.probe_as(&name).await;
        if let Err(error) = self.delete(&name).await {
            tracing::warn!(object = name, %error, "could not delete a probe, it may be deleted");
        }
        outcome
    }

    async fn probe_as(&self, name: &str) -> Result<()> {
        let first = Bytes::from(format!("{name} first"));
        match self.put_if_absent(name, first.clone()).await {
            Ok(PutIfAbsent::Created) => {}
            Ok(PutIfAbsent::Exists(_)) => {
                return Err(self.unsuitable("gave back other bytes than were put"));
            }
            Err(Error::Invalid { reason }) => {
                return Err(self.unsuitable(&format!("cannot put an object if absent ({reason})")));
            }
            Err(error) => return Err(error),
        }
        if self.second_put_succeeds(name).await? {
            return Err(self.unsuitable("let an object be created that existed already"));
        }
        match self.get(name).await {
            Ok(found) if found == first => Ok(()),
            Ok(_) => Err(self.unsuitable("gave back other bytes than were put")),
            Err(Error::Missing { .. }) => {
                Err(self.unsuitable("did not show an object that was just put"))
            }
            Err(error) => Err(error),
        }
    }

    /// Not [`BlobStore::put_if_absent`]: that reads back, and so would settle for the content.
    async fn second_put_succeeds(&self, name: &str) -> Result<bool> {
        let path = self.path(name)?;
        let second = Bytes::from(format!("{name} second"));
        let mut attempts = self.attempts(name, Request::Write);
        loop {
            let mode = PutMode::Create.into();
            let put = self.objects().put_opts(&path, second.clone().into(), mode);
            match attempts.attempt(put).await {
                Ok(_) => return Ok(true),
                Err(Failure::Exists(_)) => return Ok(false),
                Err(failure) => attempts.pause_or_fail(failure).await?,
            }
        }
    }

    fn unsuitable(&self, what: &str) -> Error {
        Error::invalid(format!(
            "{self}: the store {what}. Two runs of a job could both believe that they own it, and \
             spoil each other's checkpoints. Use a store with conditional writes (S3, GCS, Azure, \
             MinIO, a local directory), or switch them on for this one"
        ))
    }

    /// Takes the next generation for this run; every older run of the job is fenced from now on.
    ///
    /// # Errors
    ///
    /// As [`BlobStore::put_if_absent`]. After `Indeterminate` a generation may stay unused: it is
    /// safe to claim again.
    pub async fn claim_generation(&self) -> Result<Generation> {
        let mut claimed = self.newest_generation().await?.unwrap_or(Generation(0));
        loop {
            claimed = Generation(claimed.0 + 1);
            let name = layout::generation(claimed);
            let token = token(claimed, &self.claimant);
            if let PutIfAbsent::Exists(_) = self.put_if_absent(&name, token).await? {
                continue;
            }
            let newest = self.newest_generation().await?.unwrap_or(claimed);
            if newest.0 <= claimed.0 + TOKENS_KEPT {
                self.delete_old_tokens(newest).await;
                return Ok(claimed);
            }
            // G2: this token may have existed before and been deleted as old.
            claimed = newest;
        }
    }

    /// The newest generation that was claimed; none before the job's first run.
    ///
    /// # Errors
    ///
    /// As [`BlobStore::list`].
    pub async fn newest_generation(&self) -> Result<Option<Generation>> {
        Ok(self.generations().await?.into_iter().max())
    }

    /// Finds out whether this run still owns the job.
    ///
    /// The answer is about the past: a newer run may come right after. What must not happen twice
    /// has to be a put-if-absent itself; this keeps a run that lost the job from going on for long.
    ///
    /// # Errors
    ///
    /// `Fenced` if there is a newer generation; `Missing` if there is none but ours is gone too, for
    /// then somebody has emptied the folder and the next run would count from one again. Else as
    /// [`BlobStore::list`].
    pub async fn check_fence(&self, ours: Generation) -> Result<()> {
        let generations = self.generations().await?;
        match generations.iter().max() {
            Some(&newer) if newer > ours => Err(Error::Fenced { ours, newer }),
            Some(&newest) if newest == ours => Ok(()),
            _ => Err(Error::Missing { object: layout::generation(ours) }),
        }
    }

    /// The newest generation after `ours` that neither this store nor its clones have claimed.
    ///
    /// # Errors
    ///
    /// As [`BlobStore::list`].
    pub(crate) async fn claimed_by_another(&self, ours: Generation) -> Result<Option<Generation>> {
        #[derive(Deserialize)]
        struct Claim {
            claimant: String,
        }
        let mut newer = self.generations().await?;
        newer.retain(|generation| *generation > ours);
        newer.sort_unstable();
        for generation in newer.into_iter().rev() {
            let token = match self.get(&layout::generation(generation)).await {
                Err(Error::Missing { .. }) => continue,
                token => token?,
            };
            let claim = serde_json::from_slice::<Claim>(&token);
            // What cannot be read is not ours.
            if claim.map_or(true, |claim| *claim.claimant != *self.claimant) {
                return Ok(Some(generation));
            }
        }
        Ok(None)
    }

    async fn generations(&self) -> Result<Vec<Generation>> {
        let names = self.list(layout::GENERATIONS).await?;
        Ok(names.iter().filter_map(|(name, _)| layout::parse_generation(name)).collect())
    }

    /// Cleaning up never stops a run: what is left is deleted by the next one.
    async fn delete_old_tokens(&self, newest: Generation) {
        let generations = self.generations().await.unwrap_or_default();
        for old in generations.into_iter().filter(|old| old.0 + TOKENS_KEPT < newest.0) {
            let name = layout::generation(old);
            if let Err(error) = self.delete(&name).await {
                tracing::warn!(object = name, %error, "could not delete an old fencing token");
                return;
            }
        }
    }
}

fn token(generation: Generation, claimant: &str) -> Bytes {
    let (host, pid, started_ms) = (host(), std::process::id(), now_ms());
    let token = Token { claimant, generation, host, pid, started_ms, claim: unique() };
    let mut json = serde_json::to_vec_pretty(&token).expect("numbers and strings are JSON");
    json.push(b'\n');
    json.into()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn host() -> String {
    let named = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .or_else(|| std::env::var("COMPUTERNAME").ok());
    named.map_or_else(|| "unknown".to_owned(), |name| name.trim().to_owned())
}

/// A text that no other process and no other call gives: time, process, count, and 64 random bits,
/// for containers that share a host name and process id and start at once.
pub(crate) fn unique() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    // The standard library seeds its hash maps from the system's source of randomness: the only
    // one at hand without a dependency.
    let random = RandomState::new().build_hasher().finish();
    format!("{:x}-{:x}-{call:x}-{random:016x}", now_ms(), std::process::id())
}
