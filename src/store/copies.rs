//! Several places side by side, each of which is to hold the whole of a backup.
//!
//! What is written goes to each of them at once, from the same bytes in memory. A place that does not take something is lost to the run:
//! nothing more is sent there, and the others go on as long as there are as many as are asked for. What is read comes from the first that is
//! not lost and from no other: a proof speaks of one place, never of what several hold together.

use super::{
    Acknowledged, Destination, Lock, Locking, ObjectInfo, Reader, Seen, Store, Unfinished, Upload, key::check_key,
    parts::Parts, place::Place,
};
use crate::error::{Error, Kind, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

impl Destination {
    /// Several places as one; a single one stays what it is.
    pub fn several(places: Vec<Destination>) -> Option<Destination> {
        match places.len() {
            0 | 1 => places.into_iter().next(),
            _ => Some(Destination::of(Several(places))),
        }
    }

    /// The places that this is: itself, or those that it was made of.
    pub fn each(&self) -> Vec<Destination> {
        let places = self.places();
        if places.is_empty() { vec![self.clone()] } else { places.to_vec() }
    }
}

/// Several places under one name.
#[derive(Debug)]
struct Several(Vec<Destination>);

#[async_trait]
impl Place for Several {
    fn label(&self) -> String {
        let labels: Vec<String> = self.0.iter().map(|place| place.label()).collect();
        labels.join(" and ")
    }

    fn places(&self) -> &[Destination] {
        &self.0
    }

    fn there(&self) -> Result<()> {
        self.0.iter().try_for_each(|place| place.there())
    }

    fn free_space(&self) -> Result<Option<u64>> {
        let free: Result<Vec<Option<u64>>> = self.0.iter().map(|place| place.free_space()).collect();
        Ok(free?.into_iter().flatten().min())
    }

    async fn open(&self) -> Result<Arc<dyn Store>> {
        let (mut copies, mut failed) = (Vec::new(), None);
        for place in &self.0 {
            let opened = place.open().await.map_err(|e| e.context("it cannot be opened"));
            let copy = Copy { place: place.clone(), store: opened.as_ref().ok().cloned(), lost: Mutex::default() };
            if let Err(e) = opened {
                copy.lose(&e);
                failed = failed.or(Some(e.context(place.label())));
            }
            copies.push(copy);
        }
        match failed {
            Some(e) if copies.iter().all(|copy| copy.store.is_none()) => Err(e),
            _ => Ok(Arc::new(Copies { copies: Arc::new(copies), required: 1 })),
        }
    }
}

/// How many of several places must take a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Require {
    /// One is enough.
    #[default]
    Any,
    /// Each.
    All,
    /// So many.
    AtLeast(usize),
}

impl Require {
    /// The number, of so many places.
    pub fn of(self, places: usize) -> usize {
        match self {
            Require::Any => 1,
            Require::All => places,
            Require::AtLeast(number) => number,
        }
    }
}

/// One of several places.
struct Copy {
    place: Destination,
    /// `None` where it could not be opened.
    store: Option<Arc<dyn Store>>,
    /// Why nothing is sent there any more.
    lost: Mutex<Option<Lost>>,
}

/// Why a place is lost to a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// What failed there, and why.
    pub why: String,
    /// The cure.
    pub hint: Option<String>,
}

impl Copy {
    fn lost(&self) -> Option<Lost> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It did not take something. The first reason counts.
    fn lose(&self, why: &Error) {
        let lost = || Lost { why: why.one_line(), hint: why.hint_text().map(str::to_owned) };
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(lost);
    }
}

/// A place as those see it who look at each.
#[derive(Clone)]
pub struct Member {
    /// Where it is.
    pub place: Destination,
    /// What lies there; `None` where it could not be opened.
    pub store: Option<Arc<dyn Store>>,
    /// Why nothing is sent there any more.
    pub lost: Option<Lost>,
}

/// Backups in several places at once.
#[derive(Clone)]
pub struct Copies {
    copies: Arc<Vec<Copy>>,
    /// Places that must take everything.
    required: usize,
}

impl fmt::Debug for Copies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.copies.iter().filter_map(|copy| copy.store.as_ref())).finish()
    }
}

impl Copies {
    /// The same places; fewer than this many are too few.
    #[must_use]
    pub fn requiring(&self, required: usize) -> Copies {
        Copies { required: required.clamp(1, self.copies.len()), ..self.clone() }
    }

    /// Every place, in the order in which they were named.
    pub fn members(&self) -> Vec<Member> {
        let member = |copy: &Copy| Member { place: copy.place.clone(), store: copy.store.clone(), lost: copy.lost() };
        self.copies.iter().map(member).collect()
    }

    /// Gives a place up.
    ///
    /// # Errors
    /// When too few are left: why this one was lost.
    pub fn lose(&self, member: usize, why: Error) -> Result<()> {
        let Some(copy) = self.copies.get(member) else { return Ok(()) };
        copy.lose(&why);
        self.enough().map_err(|_| self.too_few(why.context(copy.place.label())))
    }

    /// Whether as many places are left as must be.
    ///
    /// # Errors
    /// Why one was lost, when too few are.
    pub fn enough(&self) -> Result<()> {
        if self.intact().len() >= self.required {
            return Ok(());
        }
        let lost = self.copies.iter().find_map(|copy| Some((copy, copy.lost()?)));
        let why =
            lost.map(|(copy, lost)| (copy.place.label(), lost)).unwrap_or_else(|| (String::new(), Lost::default()));
        let error = Error::new(Kind::Store, format!("{}: {}", why.0, why.1.why));
        Err(self.too_few(why.1.hint.into_iter().fold(error, Error::hint)))
    }

    fn too_few(&self, why: Error) -> Error {
        let (required, all) = (self.required, self.copies.len());
        if required == 1 {
            return why;
        }
        let hint = why.hint_text().map(|hint| format!("{hint}; ")).unwrap_or_default();
        let hint = format!("{hint}{required} of {all} destinations must take it by require");
        why.hint(hint)
    }

    /// The places that are not lost, with their numbers.
    fn intact(&self) -> Vec<(usize, &Arc<dyn Store>)> {
        let intact = self.copies.iter().enumerate().filter(|(_, copy)| copy.lost().is_none());
        intact.filter_map(|(n, copy)| Some((n, copy.store.as_ref()?))).collect()
    }

    /// Every place that could be opened, with its number.
    fn opened(&self) -> impl Iterator<Item = (usize, &Arc<dyn Store>)> {
        self.copies.iter().enumerate().filter_map(|(n, copy)| Some((n, copy.store.as_ref()?)))
    }

    /// The number of the place that is read.
    pub fn first_intact(&self) -> Option<usize> {
        self.intact().first().map(|(n, _)| *n)
    }

    /// The one that is read, and whose addresses are told. Where none is left the run has ended, and what is said of it names any.
    pub fn first(&self) -> Result<&Arc<dyn Store>> {
        let any = || self.opened().next().map(|(_, store)| store);
        let first = self.intact().first().map(|(_, store)| *store).or_else(any);
        first.ok_or_else(|| Error::new(Kind::Store, "no destination could be opened"))
    }

    /// Does something at each place that is not lost; what came of it by the number of the place. One that fails is lost.
    ///
    /// # Errors
    /// When too few places are left.
    async fn each<T, F>(&self, act: impl Fn(usize, Arc<dyn Store>) -> F) -> Result<BTreeMap<usize, T>>
    where
        F: Future<Output = Result<T>>,
    {
        self.enough()?;
        let acting = self.intact().into_iter().map(|(n, store)| {
            let acting = act(n, store.clone());
            async move { (n, acting.await) }
        });
        let mut done = BTreeMap::new();
        let mut lost = Ok(());
        for (n, came) in join_all(acting.collect::<Vec<_>>()).await {
            match came {
                Ok(value) => drop(done.insert(n, value)),
                Err(e) => lost = lost.and(self.lose(n, e)),
            }
        }
        lost.map(|()| done)
    }
}

#[async_trait]
impl Store for Copies {
    fn copies(&self) -> Option<Copies> {
        Some(self.clone())
    }

    fn uri(&self, key: &str) -> String {
        self.first().map(|store| store.uri(key)).unwrap_or_default()
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<()> {
        // A key that no place takes is no fault of theirs.
        check_key(key)?;
        let put = |_, store: Arc<dyn Store>| {
            let (key, body) = (key.to_owned(), body.clone());
            async move { store.put(&key, body).await }
        };
        self.each(put).await.map(drop)
    }

    /// One place after the other: of several writers the one that is first at the first place wins, and is the first at all of them.
    async fn put_new(&self, key: &str, body: Bytes) -> Result<()> {
        check_key(key)?;
        self.enough()?;
        for (n, store) in self.intact() {
            match store.put_new(key, body.clone()).await {
                Err(e) if e.kind() == Kind::Exists => return Err(e),
                Err(e) => self.lose(n, e)?,
                Ok(()) => {}
            }
        }
        Ok(())
    }

    async fn create_upload(&self, key: &str) -> Result<Arc<dyn Upload>> {
        check_key(key)?;
        let begin = |_, store: Arc<dyn Store>| {
            let key = key.to_owned();
            async move { store.create_upload(&key).await }
        };
        let uploads = self.each(begin).await?;
        Ok(Arc::new(CopiesUpload::new(self.clone(), key, uploads)))
    }

    async fn open(&self, key: &str, range: Option<Range<u64>>) -> Result<Reader> {
        self.first()?.open(key, range).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>> {
        self.first()?.list(prefix).await
    }

    async fn list_at_once(&self, prefix: &str) -> Result<Option<Vec<ObjectInfo>>> {
        self.first()?.list_at_once(prefix).await
    }

    async fn folders(&self, folder: &str) -> Result<Vec<String>> {
        self.first()?.folders(folder).await
    }

    /// Of any of them: the manifest, which says it, is one.
    fn locks(&self) -> Option<Lock> {
        self.intact().iter().find_map(|(_, store)| store.locks())
    }

    async fn locking(&self) -> Result<Locking> {
        let locks = self.intact().into_iter().map(|(_, store)| store).find(|store| store.locks().is_some());
        match locks {
            Some(store) => store.locking().await,
            None => self.first()?.locking().await,
        }
    }

    async fn lock(&self, key: &str) -> Result<Seen> {
        self.first()?.lock(key).await
    }

    /// Of all of them together.
    fn acknowledged(&self) -> Acknowledged {
        let answers = self.intact().into_iter().map(|(_, store)| store.acknowledged());
        answers.fold(Acknowledged::default(), |sum, of| Acknowledged {
            equal: sum.equal + of.equal,
            silent: sum.silent + of.silent,
        })
    }

    /// From every place, the lost ones as well.
    async fn delete(&self, key: &str) -> Result<()> {
        let deleting: Vec<_> = self.opened().map(|(_, store)| store.delete(key)).collect();
        join_all(deleting).await.into_iter().collect()
    }

    async fn delete_many(&self, keys: &[String]) -> Vec<(String, Error)> {
        let deleting: Vec<_> = self.opened().map(|(_, store)| store.delete_many(keys)).collect();
        let mut stay: BTreeMap<String, Error> = BTreeMap::new();
        for (key, e) in join_all(deleting).await.into_iter().flatten() {
            stay.entry(key).or_insert(e);
        }
        stay.into_iter().collect()
    }

    /// One that is under way at several places is one; its id names it at each of them, a line each.
    async fn uploads(&self, prefix: &str) -> Result<Vec<Unfinished>> {
        let asking = self.opened().map(|(n, store)| async move { (n, store.uploads(prefix).await) });
        let mut all: BTreeMap<(String, usize), Unfinished> = BTreeMap::new();
        for (n, uploads) in join_all(asking.collect::<Vec<_>>()).await {
            let mut seen: BTreeMap<String, usize> = BTreeMap::new();
            for upload in uploads? {
                let nth = seen.entry(upload.key.clone()).or_default();
                let id = format!("{n}:{}\n", upload.id);
                match all.get_mut(&(upload.key.clone(), *nth)) {
                    Some(known) => known.id.push_str(&id),
                    None => drop(all.insert((upload.key.clone(), *nth), Unfinished { id, ..upload })),
                }
                *nth += 1;
            }
        }
        Ok(all.into_values().collect())
    }

    async fn abort_upload(&self, upload: &Unfinished) -> Result<()> {
        for (n, id) in upload.id.lines().filter_map(|line| line.split_once(':')) {
            let copy = n.parse().ok().and_then(|n: usize| self.copies.get(n)?.store.as_ref());
            if let Some(store) = copy {
                store.abort_upload(&Unfinished { id: id.to_owned(), ..upload.clone() }).await?;
            }
        }
        Ok(())
    }
}

/// The upload of each place that took its beginning.
struct CopiesUpload {
    copies: Copies,
    key: String,
    uploads: BTreeMap<usize, Arc<dyn Upload>>,
    /// What was sent. A part that is missing or comes too late is no fault of a place.
    parts: Mutex<Parts<()>>,
    ended: AtomicBool,
}

impl fmt::Debug for CopiesUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.uploads.values()).finish()
    }
}

impl CopiesUpload {
    fn new(copies: Copies, key: &str, uploads: BTreeMap<usize, Arc<dyn Upload>>) -> Self {
        Self { copies, key: key.to_owned(), uploads, parts: Mutex::new(Parts::new()), ended: AtomicBool::new(false) }
    }

    fn uri(&self) -> String {
        self.copies.uri(&self.key)
    }

    fn parts(&self) -> MutexGuard<'_, Parts<()>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn goes_on(&self) -> Result<()> {
        if !self.ended.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(Error::new(Kind::Store, format!("cannot write {}: the upload has ended", self.uri())))
    }

    async fn each<F>(&self, act: impl Fn(Arc<dyn Upload>) -> F) -> Result<()>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let act = |n, _| {
            let acting = self.uploads.get(&n).map(|upload| act(upload.clone()));
            async move {
                match acting {
                    Some(acting) => acting.await,
                    None => Ok(()),
                }
            }
        };
        self.copies.each(act).await.map(drop)
    }
}

#[async_trait]
impl Upload for CopiesUpload {
    async fn put_part(&self, number: u32, offset: u64, body: Bytes) -> Result<()> {
        Parts::<()>::check_number(&self.uri(), number)?;
        self.goes_on()?;
        let length = body.len() as u64;
        let put = |upload: Arc<dyn Upload>| {
            let body = body.clone();
            async move { upload.put_part(number, offset, body).await }
        };
        self.each(put).await?;
        self.parts().0.insert(number, (offset, length, ()));
        Ok(())
    }

    async fn complete(&self) -> Result<()> {
        self.goes_on()?;
        self.parts().total(&self.uri())?;
        self.each(|upload| async move { upload.complete().await }).await
    }

    /// Also where the place is lost.
    async fn abort(&self) -> Result<()> {
        self.ended.store(true, Ordering::Relaxed);
        let aborted = join_all(self.uploads.values().map(|upload| upload.abort())).await;
        aborted.into_iter().collect()
    }
}
