//! System calls in another process's name: its thread is stopped where it waits in a call, and makes another in its place.
//! The filter of system calls stays in force, which is what this is to show.

use std::io::{Error, Result};
use std::time::Duration;

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel answered: a result, or an error as a negative number.
    Returned(i64),
    /// The process was killed, with this signal.
    Killed(i32),
}

/// `syscall`: the instruction that a thread which waits in the kernel has just executed.
const SYSCALL: i64 = 0x050f;
/// What is in rax of a thread that a stop found waiting: the call has done nothing and can be made again. `EINTR`, or one of
/// the kernel's own numbers for "restart it" (linux/errno.h: `ERESTARTSYS`, `ERESTARTNOINTR`, `ERESTARTNOHAND`,
/// `ERESTART_RESTARTBLOCK`).
const INTERRUPTED: [i64; 5] = [-(libc::EINTR as i64), -512, -513, -514, -516];
/// How often to stop the thread before giving up: it may be computing.
const ATTEMPTS: u32 = 500;

type Registers = libc::user_regs_struct;

/// Has the thread `tid` make the system call `number`. If it lives, it then goes on as if nothing had happened.
pub fn inject(tid: i32, number: i64, arguments: [u64; 3]) -> Result<Outcome> {
    let tracer = Tracer::seize(tid)?;
    let before = tracer.stop_in_a_call()?;
    let rip = before.rip.wrapping_sub(2);
    // No call of its own to restart: orig_rax says so.
    let none = u64::MAX;
    let [rdi, rsi, rdx] = arguments;
    let injected = Registers { rip, rax: number.cast_unsigned(), orig_rax: none, rdi, rsi, rdx, ..before };
    tracer.set(&injected)?;
    // On the way in, before the filter; then on the way out.
    for _ in 0..2 {
        if let Some(signal) = tracer.next_call()? {
            return Ok(Outcome::Killed(signal));
        }
    }
    let answer = tracer.registers()?.rax.cast_signed();
    let again = Registers { rip, rax: before.orig_rax, orig_rax: none, ..before };
    tracer.set(&again)?;
    // Who was sentenced in the call dies after it.
    if let Some(signal) = tracer.next_call()? {
        return Ok(Outcome::Killed(signal));
    }
    tracer.ask(libc::PTRACE_DETACH, 0)?;
    Ok(Outcome::Returned(answer))
}

fn died(status: i32) -> Result<Option<i32>> {
    match status {
        _ if libc::WIFSTOPPED(status) => Ok(None),
        _ if libc::WIFSIGNALED(status) => Ok(Some(libc::WTERMSIG(status))),
        _ => Err(Error::other(format!("the thread ended with status {status:#x}"))),
    }
}

struct Tracer {
    tid: i32,
}

impl Tracer {
    fn seize(tid: i32) -> Result<Self> {
        let tracer = Self { tid };
        tracer.ask(libc::PTRACE_SEIZE, libc::PTRACE_O_TRACESYSGOOD as usize)?;
        Ok(tracer)
    }

    /// A request that takes a number and changes no memory of this process.
    fn ask(&self, request: libc::c_uint, data: usize) -> Result<i64> {
        // SAFETY: callers pass requests that take numbers only.
        let answer = unsafe { libc::ptrace(request, self.tid, std::ptr::null_mut::<libc::c_void>(), data) };
        if answer < 0 { Err(Error::last_os_error()) } else { Ok(answer) }
    }

    /// Lets the thread go on to the next beginning or end of a system call; the signal that it died of, if it did.
    fn next_call(&self) -> Result<Option<i32>> {
        const IN_A_CALL: i32 = libc::SIGTRAP | 0x80;
        loop {
            self.ask(libc::PTRACE_SYSCALL, 0)?;
            let status = self.status()?;
            match died(status)? {
                None if libc::WSTOPSIG(status) != IN_A_CALL => {}
                other => return Ok(other),
            }
        }
    }

    /// Waits for the thread to stop; the signal that it died of, if it did.
    fn wait(&self) -> Result<Option<i32>> {
        died(self.status()?)
    }

    fn status(&self) -> Result<i32> {
        let mut status = 0;
        // SAFETY: `status` is valid for the call, which writes one number to it.
        if unsafe { libc::waitpid(self.tid, &raw mut status, libc::__WALL) } < 0 {
            return Err(Error::last_os_error());
        }
        Ok(status)
    }

    fn stop_in_a_call(&self) -> Result<Registers> {
        for _ in 0..ATTEMPTS {
            self.ask(libc::PTRACE_INTERRUPT, 0)?;
            if let Some(signal) = self.wait()? {
                return Err(Error::other(format!("it died of signal {signal} before anything was injected")));
            }
            let registers = self.registers()?;
            let at = registers.rip.wrapping_sub(2);
            // SAFETY: reads a word of the other process; nothing of this one's is touched. -1 is no such instruction.
            let code = unsafe { libc::ptrace(libc::PTRACE_PEEKTEXT, self.tid, at, 0_usize) };
            // Between two calls it may be behind the instruction, too; making the last one again would do it twice.
            if code & 0xffff == SYSCALL && INTERRUPTED.contains(&registers.rax.cast_signed()) {
                return Ok(registers);
            }
            self.ask(libc::PTRACE_CONT, 0)?;
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(Error::other("the thread is never in a system call"))
    }

    fn registers(&self) -> Result<Registers> {
        // SAFETY: all-zero bytes are valid registers, and the kernel writes exactly this structure.
        let mut registers: Registers = unsafe { std::mem::zeroed() };
        // SAFETY: `registers` is valid for the call.
        let answer = unsafe {
            let none = std::ptr::null_mut::<libc::c_void>();
            libc::ptrace(libc::PTRACE_GETREGS, self.tid, none, &raw mut registers)
        };
        if answer < 0 { Err(Error::last_os_error()) } else { Ok(registers) }
    }

    fn set(&self, registers: &Registers) -> Result<()> {
        // SAFETY: the kernel reads exactly this structure, which is valid for the call.
        let answer = unsafe {
            let none = std::ptr::null_mut::<libc::c_void>();
            libc::ptrace(libc::PTRACE_SETREGS, self.tid, none, std::ptr::from_ref(registers))
        };
        if answer < 0 { Err(Error::last_os_error()) } else { Ok(()) }
    }
}
