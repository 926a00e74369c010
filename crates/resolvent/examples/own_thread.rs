//! The engine in a worker thread, as a program with a window or a server uses it: requests go in through a channel,
//! progress and results come out through another one, and long work can be stopped in the middle.
//!
//!     cargo run --release -p resolvent --example own_thread

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use resolvent::engine::{Error as DeviceError, stoppable};
use resolvent::field::{Basis, BasisContext, PlacePairs, Slice};
use resolvent::model::Error as ModelError;
use resolvent::prelude::*;

/// A prompt as token ids, and whether the value of an observable or the whole Green operator is wanted.
struct Request {
    id: u64,
    tokens: Vec<u32>,
    observable: Option<Observable>,
}

enum Event {
    Progress { id: u64, done: u64, all: u64 },
    Done { id: u64, result: resolvent::Result<String> },
}

/// Answers requests until their channel closes. Device and model belong to this thread. `stop` is the id of a request
/// that is no longer wanted.
fn serve(requests: &Receiver<Request>, events: &Sender<Event>, stop: &Arc<AtomicU64>) -> Result<(), Box<dyn Error>> {
    // Small batches report progress more often.
    let device = open(&Options { batch_bytes: 4 << 20, ..Options::default() })?;
    let model = Model::named(&device, "atlas-nano")?;
    for request in requests {
        let (id, stop) = (request.id, Arc::clone(stop));
        // The first closure is asked every few milliseconds. If it returns true, the second one ends with an error.
        let result = stoppable(move || stop.load(Ordering::Relaxed) == id, || answer(&model, &request, events));
        events.send(Event::Done { id, result })?;
    }
    Ok(())
}

fn answer(model: &Model, request: &Request, events: &Sender<Event>) -> resolvent::Result<String> {
    let run = model.run(&request.tokens, &[])?;
    if let Some(j) = &request.observable {
        return Ok(format!("{j} = {:.3}", run.value(j)?));
    }
    let (linear, context) = (run.linearize(Mode::Exact), BasisContext { rank: Some(16), ..Default::default() });
    let pairs = PlacePairs::new(&run, None, None)?;
    let slice = Slice::new(&linear, pairs, [&Basis::Random(1), &Basis::Random(2)], [context, context])?;
    // If the receiver is gone, `serve` ends at its own next event.
    let sliced = slice.compute(&mut |done, all| _ = events.send(Event::Progress { id: request.id, done, all }))?;
    Ok(format!("{} strongest pairs", sliced.strongest.len()))
}

fn main() -> Result<(), Box<dyn Error>> {
    let ((requests, received), (sent, events)) = (channel(), channel());
    let stop = Arc::new(AtomicU64::new(0));
    let asked = Arc::clone(&stop);
    let worker = thread::spawn(move || serve(&received, &sent, &asked).map_err(|error| error.to_string()));

    let tokens: Vec<u32> = (1..=40).collect();
    requests.send(Request { id: 1, tokens: tokens.clone(), observable: None })?;
    requests.send(Request { id: 2, tokens, observable: Some(Observable::logit_diff(2, 6, 39)) })?;
    drop(requests); // The worker ends after these two.

    // The event loop. It ends when the worker has.
    for event in events {
        match event {
            Event::Progress { id, done, all } if done > 0 && stop.swap(id, Ordering::Relaxed) != id => {
                println!("request {id}: {done} of {all} done, stopping it");
            }
            Event::Progress { .. } => {}
            Event::Done { id, result: Ok(text) } => println!("request {id}: {text}"),
            Event::Done { id, result: Err(resolvent::Error::Model(ModelError::Engine(DeviceError::Stopped))) } => {
                println!("request {id}: stopped");
            }
            Event::Done { id, result: Err(error) } => println!("request {id} failed: {error}"),
        }
    }
    worker.join().map_err(|_| "the worker panicked")??;
    Ok(())
}
