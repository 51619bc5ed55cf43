//! A store that fails on purpose, by a script: for tests of this crate and of its users.
//!
//! Every request gets a number, from 1, in the order in which requests come; the script says what
//! happens to which. With one request at a time, a run is repeatable to the last error.
//!
//! ```
//! use std::sync::Arc;
//! use highwater_checkpoint::store::{BlobStore, Location};
//! use highwater_checkpoint::store::faulty::{Faults, FaultyStore};
//! use object_store::memory::InMemory;
//!
//! let faults = Faults::default().refuse_every(3).lose_reply_every(5);
//! let store = FaultyStore::new(Arc::new(InMemory::new()), faults.clone());
//! let store = BlobStore::new(Location::of(Arc::new(store)), "wordcount");
//! assert_eq!(faults.calls(), 0);
//! ```

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, Extensions, GetOptions, GetResult, GetResultPayload,
    ListResult, MultipartId, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use tokio::time::Instant;

/// On which side of taking effect something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The request has not reached the store.
    Before,
    /// The store has done it, and the reply is not there yet.
    After,
}

/// One request, as [`Faults::log`] has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Number of the request, from 1.
    pub number: u64,
    /// `put`, `create` (put if absent), `get`, `head`, `list`, `delete`, `copy`, `start_upload`,
    /// `put_part`, `complete` or `abort`.
    pub operation: &'static str,
    /// What it was about.
    pub path: String,
}

/// What goes wrong with one request, as [`Faults::decide`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It fails and changes nothing.
    Refuse,
    /// It is answered with "permission denied".
    Deny,
    /// It takes effect and is answered with an error.
    LoseReply,
    /// It takes this much longer.
    Slow(Side, Duration),
    /// Half of what it reads arrives, as if that were all; half of what it writes is there
    /// afterwards, and it fails. Other requests fail and change nothing.
    Tear,
}

/// What goes wrong when. Clones share one script: keep one to change it while the store is in use.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    calls: u64,
    log: Vec<Call>,
    refuse_every: Option<u64>,
    lose_reply_every: Option<u64>,
    slow_every: Option<(u64, Duration)>,
    down: Option<Range<Instant>>,
    down_calls: Range<u64>,
    lost_calls: Range<u64>,
    deny: bool,
    ignore_create: bool,
    crash: Option<(u64, Side, Arc<dyn Fn() + Send + Sync>)>,
    decide: Option<Box<dyn FnMut(&Call) -> Fault + Send>>,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl Faults {
    /// Every `k`-th request fails and changes nothing; `0` is never.
    #[must_use]
    pub fn refuse_every(self, k: u64) -> Faults {
        self.script().refuse_every = Some(k).filter(|k| *k > 0);
        self
    }

    /// Every `k`-th request takes effect and is answered with an error; `0` is never.
    #[must_use]
    pub fn lose_reply_every(self, k: u64) -> Faults {
        self.script().lose_reply_every = Some(k).filter(|k| *k > 0);
        self
    }

    /// Every `k`-th request takes `delay` more, in turn before and after it takes effect; `0` is
    /// never.
    #[must_use]
    pub fn slow_every(self, k: u64, delay: Duration) -> Faults {
        self.script().slow_every = Some((k, delay)).filter(|(k, _)| *k > 0);
        self
    }

    /// Every request fails and changes nothing while the time from now is in `window`.
    #[must_use]
    pub fn down_during(self, window: Range<Duration>) -> Faults {
        let now = Instant::now();
        self.script().down = Some(now + window.start..now + window.end);
        self
    }

    /// Requests with a number in `calls` fail and change nothing.
    #[must_use]
    pub fn down_for_calls(self, calls: Range<u64>) -> Faults {
        self.script().down_calls = calls;
        self
    }

    /// Requests with a number in `calls` take effect and are answered with an error.
    #[must_use]
    pub fn lose_replies_to_calls(self, calls: Range<u64>) -> Faults {
        self.script().lost_calls = calls;
        self
    }

    /// From now on every request is answered with "permission denied".
    #[must_use]
    pub fn deny(self) -> Faults {
        self.script().deny = true;
        self
    }

    /// Put-if-absent overwrites, as on a store that does not know the condition.
    #[must_use]
    pub fn ignore_create(self) -> Faults {
        self.script().ignore_create = true;
        self
    }

    /// Calls `crash` (`std::process::abort`, say) at request number `call`.
    #[must_use]
    pub fn crash_at(
        self,
        call: u64,
        side: Side,
        crash: impl Fn() + Send + Sync + 'static,
    ) -> Faults {
        self.script().crash = Some((call, side, Arc::new(crash)));
        self
    }

    /// Asks `decide` about each request, besides all else.
    #[must_use]
    pub fn decide(self, decide: impl FnMut(&Call) -> Fault + Send + 'static) -> Faults {
        self.script().decide = Some(Box::new(decide));
        self
    }

    /// No faults any more; calls and log go on.
    pub fn heal(&self) {
        let mut script = self.script();
        let (calls, log) = (script.calls, std::mem::take(&mut script.log));
        *script = Script { calls, log, ..Script::default() };
    }

    /// Number of requests so far.
    pub fn calls(&self) -> u64 {
        self.script().calls
    }

    /// All requests so far.
    pub fn log(&self) -> Vec<Call> {
        self.script().log.clone()
    }

    /// A panicking crash closure must not hide the test's own failure behind a poisoned lock.
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `request`, if and how the script says.
    async fn run<T>(
        &self,
        operation: &'static str,
        path: &Path,
        request: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let plan = self.plan(operation, path);
        plan.make(request).await
    }

    fn plan(&self, operation: &'static str, path: &Path) -> Plan {
        self.script().plan(operation, path)
    }
}

/// What happens to one request.
struct Plan {
    refusal: Option<Error>,
    lost_reply: Option<Error>,
    slow: Option<(Side, Duration)>,
    tears: bool,
    crash: Option<(Side, Arc<dyn Fn() + Send + Sync>)>,
}

impl Plan {
    async fn make<T>(self, request: impl Future<Output = Result<T>>) -> Result<T> {
        let plan = self;
        plan.pass(Side::Before).await;
        if let Some(error) = plan.refusal {
            return Err(error);
        }
        let answer = request.await;
        plan.pass(Side::After).await;
        match plan.lost_reply {
            Some(error) if answer.is_ok() => Err(error),
            _ => answer,
        }
    }

    async fn pass(&self, side: Side) {
        if let Some((at, crash)) = &self.crash
            && *at == side
        {
            crash();
        }
        if let Some((at, delay)) = self.slow
            && at == side
        {
            tokio::time::sleep(delay).await;
        }
    }
}

impl Script {
    fn plan(&mut self, operation: &'static str, path: &Path) -> Plan {
        self.calls += 1;
        let number = self.calls;
        let call = Call { number, operation, path: path.to_string() };
        let decided = self.decide.as_mut().map_or(Fault::None, |decide| decide(&call));
        self.log.push(call);
        let can_tear = matches!(operation, "put" | "create" | "get");
        let due = |every: Option<u64>| every.is_some_and(|k| number.is_multiple_of(k));
        let down = self.down_calls.contains(&number)
            || self.down.as_ref().is_some_and(|window| window.contains(&Instant::now()));
        let refused = decided == Fault::Refuse || (decided == Fault::Tear && !can_tear);
        let refusal = if self.deny || decided == Fault::Deny {
            let source = "denied by the script".into();
            Some(Error::PermissionDenied { path: path.to_string(), source })
        } else {
            (down || refused || due(self.refuse_every)).then(|| error(number, operation, path))
        };
        let lost = due(self.lose_reply_every)
            || self.lost_calls.contains(&number)
            || decided == Fault::LoseReply
            || (decided == Fault::Tear && operation != "get");
        let slow = self.slow_every.filter(|(k, _)| due(Some(*k))).map(|(k, delay)| {
            let side = if (number / k).is_multiple_of(2) { Side::After } else { Side::Before };
            (side, delay)
        });
        let slow = match decided {
            Fault::Slow(side, delay) => Some((side, delay)),
            _ => slow,
        };
        Plan {
            tears: decided == Fault::Tear && can_tear,
            refusal,
            lost_reply: lost.then(|| error(number, operation, path)),
            slow,
            crash: self
                .crash
                .as_ref()
                .filter(|(call, ..)| *call == number)
                .map(|(_, side, crash)| (*side, Arc::clone(crash))),
        }
    }
}

/// Mostly `Generic`, as in life. R2 answers a conditional put that meets another one with a failed
/// precondition although nothing exists: a caller that believes it loses a write.
fn error(number: u64, operation: &'static str, path: &Path) -> Error {
    let source = format!("fault at call {number}, {operation} {path}").into();
    let path = path.to_string();
    match number % 4 {
        1 if operation == "create" => Error::Precondition { path, source },
        2 if operation == "create" => Error::AlreadyExists { path, source },
        3 => Error::NotModified { path, source },
        _ => Error::Generic { store: "FaultyStore", source },
    }
}

/// The first half.
fn half(payload: &PutPayload) -> PutPayload {
    let bytes: Vec<u8> =
        payload.iter().flatten().copied().take(payload.content_length() / 2).collect();
    PutPayload::from(bytes)
}

/// A store whose requests go wrong as [`Faults`] say.
pub struct FaultyStore {
    objects: Arc<dyn ObjectStore>,
    parts: Arc<dyn MultipartStore>,
    faults: Faults,
}

impl FaultyStore {
    /// Puts `faults` before `store`.
    pub fn new<S: ObjectStore + MultipartStore>(store: Arc<S>, faults: Faults) -> FaultyStore {
        let parts: Arc<dyn MultipartStore> = Arc::clone(&store) as _;
        FaultyStore { objects: store, parts, faults }
    }

    /// Puts `faults` before the store of `location`; the prefix stays.
    ///
    /// # Panics
    ///
    /// If the store of `location` takes no uploads in parts.
    pub fn wrap(location: super::Location, faults: Faults) -> super::Location {
        let parts = location.parts.expect("a store that takes uploads in parts");
        let store = FaultyStore { objects: location.objects, parts, faults };
        let (prefix, local) = (location.prefix, location.local);
        super::Location { prefix, local, ..super::Location::of(Arc::new(store)) }
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("objects", &self.objects).finish_non_exhaustive()
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({})", self.objects)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut opts: PutOptions,
    ) -> Result<PutResult> {
        let create = opts.mode == PutMode::Create;
        if create && self.faults.script().ignore_create {
            opts.mode = PutMode::Overwrite;
        }
        let operation = if create { "create" } else { "put" };
        let plan = self.faults.plan(operation, location);
        let payload = if plan.tears { half(&payload) } else { payload };
        plan.make(self.objects.put_opts(location, payload, opts)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let start = self.objects.put_multipart_opts(location, opts);
        let inner = self.faults.run("start_upload", location, start).await?;
        Ok(Box::new(FaultyUpload { inner, path: location.clone(), faults: self.faults.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let operation = if options.head { "head" } else { "get" };
        let plan = self.faults.plan(operation, location);
        let tears = plan.tears && !options.head;
        let mut got = plan.make(self.objects.get_opts(location, options)).await?;
        if tears {
            let (range, meta) = (got.range.clone(), got.meta.clone());
            let bytes = got.bytes().await?;
            let bytes = bytes.slice(..bytes.len() / 2);
            let payload = futures::stream::once(async move { Ok(bytes) }).boxed();
            let (payload, attributes) = (GetResultPayload::Stream(payload), Attributes::default());
            got = GetResult { payload, meta, range, attributes, extensions: Extensions::default() };
        }
        Ok(got)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let (objects, faults) = (Arc::clone(&self.objects), self.faults.clone());
        locations
            .and_then(move |path| {
                let (objects, faults) = (Arc::clone(&objects), faults.clone());
                async move {
                    faults.run("delete", &path, objects.delete(&path)).await?;
                    Ok(path)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (objects, faults) = (Arc::clone(&self.objects), self.faults.clone());
        let path = prefix.cloned().unwrap_or_default();
        let list = async move {
            let all = objects.list(Some(&path)).try_collect::<Vec<_>>();
            let all = faults.run("list", &path, all).await?;
            Ok(futures::stream::iter(all).map(Ok))
        };
        list.try_flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let path = prefix.cloned().unwrap_or_default();
        self.faults.run("list", &path, self.objects.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.faults.run("copy", to, self.objects.copy_opts(from, to, options)).await
    }
}

#[async_trait]
impl MultipartStore for FaultyStore {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.faults.run("start_upload", path, self.parts.create_multipart(path)).await
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        part_idx: usize,
        data: PutPayload,
    ) -> Result<PartId> {
        self.faults.run("put_part", path, self.parts.put_part(path, id, part_idx, data)).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        self.faults.run("complete", path, self.parts.complete_multipart(path, id, parts)).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.faults.run("abort", path, self.parts.abort_multipart(path, id)).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    path: Path,
    faults: Faults,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (put, path, faults) =
            (self.inner.put_part(data), self.path.clone(), self.faults.clone());
        async move { faults.run("put_part", &path, put).await }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.faults.run("complete", &self.path, self.inner.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.faults.run("abort", &self.path, self.inner.abort()).await
    }
}
