//! The load: so many clients, each of which asks again as soon as it is answered.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::LocalSet;
use tokio::time::timeout;

use super::Tally;
use super::door::{Client, Door};
use crate::error::{Error, Result};
use crate::measure::Samples;

/// Longest wait for what was asked last: 64 clients may wait for one processor.
const PATIENCE: Duration = Duration::from_secs(120);

/// The request that follows from an answer, if one does.
pub type Then = dyn Fn(&[u8]) -> Result<Option<Vec<u8>>>;

/// What is asked.
pub struct Asked {
    /// A request.
    pub first: Vec<u8>,
    /// What is asked when it is answered, if anything is; the two count as one.
    pub then: Box<Then>,
}

/// When what is counted begins and ends.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: Instant,
    to: Instant,
}

/// Has `clients` ask through `door`. Counted is what is answered in `span`, which begins `warm` after all are
/// connected. `cpu` tells how much processor time the other side has used so far.
///
/// Everybody's last request is waited for, so that nothing of it is left for the next block to pay.
pub async fn drive(
    door: &Rc<Door>,
    asked: &Rc<Asked>,
    clients: usize,
    warm: Duration,
    span: Duration,
    cpu: impl Fn() -> Result<Option<f64>>,
) -> Result<Tally> {
    let mut connected = Vec::with_capacity(clients);
    for _ in 0..clients {
        connected.push(Client::connect(Rc::clone(door)).await?);
    }
    let from = Instant::now() + warm;
    let window = Window { from, to: from + span };
    let latencies = Rc::new(RefCell::new(Samples::default()));
    let local = LocalSet::new();
    let tasks: Vec<_> = connected
        .into_iter()
        .map(|client| local.spawn_local(ask(client, Rc::clone(asked), window, Rc::clone(&latencies))))
        .collect();
    let watch = local.run_until(async {
        tokio::time::sleep_until(window.from.into()).await;
        let before = cpu()?;
        tokio::time::sleep_until(window.to.into()).await;
        let used = cpu()?.zip(before).map(|(after, before)| after - before);
        for task in tasks {
            task.await.map_err(|error| Error::answer("a client", error.to_string()))??;
        }
        Ok::<_, Error>(used)
    });
    let late = |_| Error::answer("an HTTP answer", format!("none in {} s", PATIENCE.as_secs()));
    let used = timeout(warm + span + PATIENCE, watch).await.map_err(late)??;
    let latencies = latencies.take();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let count = latencies.len() as f64;
    Ok(Tally { rate: count / span.as_secs_f64(), cpu: used.map(|used| used / count), latencies })
}

async fn ask(
    mut client: Client,
    asked: Rc<Asked>,
    window: Window,
    latencies: Rc<RefCell<Samples>>,
) -> Result<()> {
    loop {
        let start = Instant::now();
        let answer = client.exchange(&asked.first).await?;
        if let Some(next) = (asked.then)(answer)? {
            client.exchange(&next).await?;
        }
        let end = Instant::now();
        if end > window.to {
            return Ok(());
        }
        if end >= window.from {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            latencies.borrow_mut().push((end - start).as_nanos() as f64);
        }
    }
}
