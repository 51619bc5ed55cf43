//! What a sink writes to: it survives the processes, keeps what was prepared, and notes what no
//! sink should ever be asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use highwater::sink::{Prepare, Sink, SinkRun, SinkWriter};
use highwater::{BoxError, Epoch};

use super::fate::{Act, Fate};

/// Generation, epoch and worker of what was prepared.
pub(crate) type Id = (u64, u64, usize);

#[derive(Debug)]
pub(crate) struct Target<T>(Arc<Mutex<Durable<T>>>);

#[derive(Debug)]
struct Durable<T> {
    prepared: BTreeMap<Id, Vec<T>>,
    committed: BTreeMap<Id, Vec<T>>,
    breaches: Vec<String>,
    /// The newest generation that has begun.
    newest: u64,
}

impl<T> Clone for Target<T> {
    fn clone(&self) -> Target<T> {
        Target(Arc::clone(&self.0))
    }
}

impl<T: Clone> Target<T> {
    pub(crate) fn new() -> Target<T> {
        let (prepared, committed) = (BTreeMap::new(), BTreeMap::new());
        let (breaches, newest) = (Vec::new(), 0);
        Target(Arc::new(Mutex::new(Durable { prepared, committed, breaches, newest })))
    }

    fn lock(&self) -> MutexGuard<'_, Durable<T>> {
        self.0.lock().unwrap()
    }

    /// What can be seen.
    pub(crate) fn records(&self) -> Vec<T> {
        self.lock().committed.values().flatten().cloned().collect()
    }

    pub(crate) fn breaches(&self) -> Vec<String> {
        self.lock().breaches.clone()
    }

    /// The sink that a process writes to it by.
    pub(crate) fn sink(&self, fate: &Fate) -> TargetSink<T> {
        TargetSink { target: self.clone(), fate: fate.clone() }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct TargetSink<T> {
    target: Target<T>,
    fate: Fate,
}

fn fault() -> BoxError {
    "a fault of the simulation".into()
}

impl<T: Clone + Send + 'static> Sink<T> for TargetSink<T> {
    type Committable = Id;
    type Writer = TargetWriter<T>;

    fn begin(&self, run: &SinkRun) -> Result<(), BoxError> {
        let mut durable = self.target.lock();
        durable.newest = durable.newest.max(run.generation);
        let held = durable.committed.keys().map(|(_, epoch, _)| Epoch(*epoch)).max();
        if held <= run.restored {
            return Ok(());
        }
        let what = format!("{held:?} is committed, {:?} restored", run.restored);
        // An older run may come to begin when a newer one has long committed.
        if run.generation == durable.newest {
            durable.breaches.push(what.clone());
        }
        Err(what.into())
    }

    fn commit(&self, run: &SinkRun, ids: Vec<Id>) -> Result<(), BoxError> {
        for id in ids {
            let act = self.fate.sink(format_args!("{} commits {id:?}", run.uid));
            if act == Act::Refused {
                return Err(fault());
            }
            let mut durable = self.target.lock();
            match durable.prepared.remove(&id) {
                Some(records) => drop(durable.committed.insert(id, records)),
                None if durable.committed.contains_key(&id) => {}
                None => {
                    let uid = &run.uid;
                    durable.breaches.push(format!("{uid}: {id:?} is to be committed, and gone"));
                    return Err("what is to be committed is gone".into());
                }
            }
            if act == Act::DoneInVain {
                return Err(fault());
            }
        }
        Ok(())
    }

    fn abort(&self, run: &SinkRun) -> Result<(), BoxError> {
        if self.fate.sink(format_args!("{} aborts", run.uid)) == Act::Refused {
            return Err(fault());
        }
        self.target.lock().prepared.retain(|(generation, ..), _| *generation >= run.generation);
        Ok(())
    }

    fn open(&self, run: &SinkRun, worker: usize) -> Result<TargetWriter<T>, BoxError> {
        let (sink, run) = (self.clone(), run.clone());
        Ok(TargetWriter { sink, run, worker, records: Vec::new() })
    }
}

#[derive(Debug)]
pub(crate) struct TargetWriter<T> {
    sink: TargetSink<T>,
    run: SinkRun,
    worker: usize,
    records: Vec<T>,
}

impl<T: Clone + Send + 'static> SinkWriter<T> for TargetWriter<T> {
    type Committable = Id;

    fn write(&mut self, batch: &mut Vec<T>) -> Result<(), BoxError> {
        self.records.append(batch);
        Ok(())
    }

    fn prepare(&mut self, epoch: Epoch) -> Result<Prepare<Id>, BoxError> {
        let records = std::mem::take(&mut self.records);
        let (sink, uid) = (self.sink.clone(), self.run.uid.clone());
        let id = (self.run.generation, epoch.0, self.worker);
        Ok(Box::new(move || {
            if records.is_empty() {
                return Ok(Vec::new());
            }
            let act = sink.fate.sink(format_args!("{uid} prepares {id:?}"));
            if act != Act::Refused {
                sink.target.lock().prepared.insert(id, records);
            }
            if act == Act::Done { Ok(vec![id]) } else { Err(fault()) }
        }))
    }
}
