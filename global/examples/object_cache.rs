//! Typed caches: objects that are set up once and used many times, by several threads.
//!
//! ```text
//! cargo run --example object_cache
//! ```

use kmem::Cache;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

static SET_UPS: AtomicUsize = AtomicUsize::new(0);

/// What costs something to set up: a connection's buffers, say.
struct Session {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Session {
    fn new() -> Self {
        SET_UPS.fetch_add(1, Ordering::Relaxed);
        Self { input: Vec::with_capacity(512), output: Vec::with_capacity(512) }
    }

    /// Leaves it as the next user wants to find it: empty, with its memory.
    fn clear(&mut self) {
        self.input.clear();
        self.output.clear();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    constructed()?;
    plain()?;
    Ok(())
}

/// With a constructor: it runs for every object of a slab when the slab is made, and never again for these.
fn constructed() -> Result<(), Box<dyn Error>> {
    let sessions = Cache::new("session", Session::new)?;
    let mut served = 0;
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(64);
        for client in 0..4_u8 {
            let (sender, sessions) = (sender.clone(), &sessions);
            scope.spawn(move || {
                for request in 0..10_000_u16 {
                    // Fails only if there is no memory.
                    let Ok(mut session) = sessions.alloc() else { return };
                    session.input.extend_from_slice(&request.to_le_bytes());
                    session.output.push(client);
                    if sender.send(session).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        // Allocated by one thread, returned by another: what kmem's queues are made for.
        for mut session in receiver {
            assert_eq!((session.input.len(), session.output.len()), (2, 1));
            session.clear();
            served += 1;
        }
    });
    println!("{served} sessions served, {} set up", SET_UPS.load(Ordering::Relaxed));
    // Nobody uses any: their slabs go back, and the destructors run now.
    println!("{} pages of 64 KiB released\n", sessions.shrink());
    Ok(())
}

/// Without one: boxes of one size, moved in and dropped.
fn plain() -> Result<(), Box<dyn Error>> {
    struct Point {
        x: f64,
        y: f64,
    }
    let points = Cache::plain("point")?;
    let mut path = Vec::new();
    for step in 0..1000 {
        path.push(points.insert(Point { x: f64::from(step), y: 0.5 })?);
    }
    path[999].y = 1.5;
    println!("{} points, the last is at {}, {}", path.len(), path[999].x, path[999].y);
    // Equal caches share slabs: these points lie among the other objects of 16 bytes, and the shared cache shows its first name.
    println!("they lie in {}", points.raw().name());
    Ok(())
}
