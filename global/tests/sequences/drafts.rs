//! Sequences made by hand: good ones pass, and each way to break the law is found.

use super::image::{Descriptor, Image, SIGNATURE};
use super::law::{self, Primitive};
use iced_x86::BlockEncoderOptions;
use iced_x86::code_asm::*;

/// The roles that registers play here.
pub(super) const TABLE: AsmRegister64 = rdi;
pub(super) const OFFSET: AsmRegister64 = rsi;
pub(super) const OBJECT: AsmRegister64 = r8;
pub(super) const OLD: AsmRegister64 = r9;
pub(super) const NEW: AsmRegister64 = r10;
pub(super) const CONTROL: AsmRegister64 = r12;
pub(super) const EPOCH: AsmRegister32 = r13d;
pub(super) const TURNS: AsmRegister64 = r14;
pub(super) const BASE: AsmRegister64 = rax;
pub(super) const SCRATCH: AsmRegister64 = rcx;
pub(super) const ADDRESS: AsmRegister64 = rdx;

pub(super) type Part<'a> = &'a dyn Fn(&mut CodeAssembler, &mut Labels);

/// What parts jump to.
pub(super) struct Labels {
    pub(super) descriptor: CodeLabel,
    pub(super) restart: CodeLabel,
    pub(super) start: CodeLabel,
    /// Behind the section.
    pub(super) end: CodeLabel,
    /// Elsewhere.
    pub(super) out: CodeLabel,
}

/// A sequence in parts, each of which a test can replace.
#[derive(Clone, Copy)]
pub(super) struct Draft<'a> {
    pub(super) before: Part<'a>,
    pub(super) arm: Part<'a>,
    pub(super) row: Part<'a>,
    pub(super) work: Part<'a>,
    pub(super) after: Part<'a>,
    pub(super) abort: Part<'a>,
    pub(super) signature: u32,
}

const ORIGIN: u64 = 0x10000;

impl Draft<'_> {
    pub(super) fn assemble(self) -> (Image, Descriptor) {
        let mut a = CodeAssembler::new(64).unwrap();
        let mut label = || a.create_label();
        let mut labels = Labels { descriptor: label(), restart: label(), start: label(), end: label(), out: label() };
        let mut abort = label();
        // Room for the descriptor, so that code can take its address.
        a.set_label(&mut labels.descriptor).unwrap();
        a.dq(&[0x9090_9090_9090_9090; 4]).unwrap();
        (self.before)(&mut a, &mut labels);
        a.set_label(&mut labels.restart).unwrap();
        (self.arm)(&mut a, &mut labels);
        a.set_label(&mut labels.start).unwrap();
        (self.row)(&mut a, &mut labels);
        (self.work)(&mut a, &mut labels);
        a.set_label(&mut labels.end).unwrap();
        (self.after)(&mut a, &mut labels);
        // The assembler puts no two labels on one instruction.
        a.nop().unwrap();
        a.set_label(&mut labels.out).unwrap();
        a.ret().unwrap();
        a.dd(&[self.signature]).unwrap();
        a.set_label(&mut abort).unwrap();
        (self.abort)(&mut a, &mut labels);
        let code = a.assemble_options(ORIGIN, BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS).unwrap();
        let at = |label: &CodeLabel| code.label_ip(label).unwrap();
        let (start, end) = (at(&labels.start), at(&labels.end));
        let descriptor = Descriptor { at: ORIGIN, version: 0, flags: 0, start, length: end - start, abort: at(&abort) };
        (Image { code: vec![(ORIGIN, code.inner.code_buffer)], descriptors: vec![descriptor] }, descriptor)
    }

    pub(super) fn verdict(self) -> Result<Primitive, String> {
        let (image, descriptor) = self.assemble();
        law::check(&image, &descriptor)
    }

    /// Fails unless the verdict names this rule.
    #[track_caller]
    pub(super) fn breaks(self, rule: &str) {
        let verdict = self.verdict();
        assert!(verdict.as_ref().is_err_and(|what| what.contains(rule)), "expected {rule:?}, found {verdict:?}");
    }
}

/// Writes instructions: `part!(a, labels: mov(rax, rbx); ret())`.
macro_rules! part {
    ($a:ident, $l:ident: $($op:ident($($arg:expr),*));* $(;)?) => {
        &|$a: &mut CodeAssembler, $l: &mut Labels| {
            let _ = &$l;
            $($a.$op($($arg),*).unwrap();)*
        }
    };
}

pub(super) use part;

pub(super) fn nothing(_: &mut CodeAssembler, _: &mut Labels) {}

/// A sequence like the production's with `work` in its middle.
pub(super) fn draft(work: Part<'_>) -> Draft<'_> {
    Draft {
        before: &nothing,
        arm: part!(a, l:
            mov(SCRATCH, qword_ptr(TABLE + 8)); test(SCRATCH, SCRATCH); jz(l.out);
            lea(ADDRESS, qword_ptr(l.descriptor)); mov(qword_ptr(SCRATCH).fs(), ADDRESS)),
        row: part!(a, l:
            mov(ADDRESS, qword_ptr(TABLE + 16)); mov(edx, dword_ptr(ADDRESS).fs());
            cmp(edx, dword_ptr(TABLE + 24)); jae(l.out); shl(ADDRESS, 16);
            add(ADDRESS, OFFSET); mov(BASE, qword_ptr(TABLE)); add(ADDRESS, BASE)),
        work,
        after: &nothing,
        abort: part!(a, l: jmp(l.restart)),
        signature: SIGNATURE,
    }
}

const POP: Part<'_> = part!(a, l:
    mov(SCRATCH, qword_ptr(ADDRESS)); mov(BASE, qword_ptr(BASE + SCRATCH - 8)); test(BASE, BASE); jz(l.end);
    sub(SCRATCH, 8); mov(qword_ptr(ADDRESS), SCRATCH));
const PUSH: Part<'_> = part!(a, l:
    mov(SCRATCH, qword_ptr(ADDRESS)); test(qword_ptr(TABLE + OFFSET + 64), SCRATCH); jz(l.out);
    mov(qword_ptr(BASE + SCRATCH), OBJECT); add(SCRATCH, 8); mov(qword_ptr(ADDRESS), SCRATCH));
pub(super) const SAME_EPOCH: Part<'_> = part!(a, l: cmp(dword_ptr(TABLE + CONTROL), EPOCH); jne(l.out));
const SWAP_IF: Part<'_> = part!(a, l: cmp(dword_ptr(TABLE + CONTROL), EPOCH); jne(l.out); cmp(qword_ptr(ADDRESS), OLD); jne(l.out); mov(qword_ptr(ADDRESS), NEW));
const UNCHAIN: Part<'_> = part!(a, l: cmp(dword_ptr(TABLE + CONTROL), EPOCH); jne(l.end);
    mov(BASE, qword_ptr(ADDRESS)); test(BASE, BASE); jz(l.end); mov(SCRATCH, BASE); shl(SCRATCH, 16); shr(SCRATCH, 16);
    mov(SCRATCH, qword_ptr(SCRATCH)); mov(qword_ptr(ADDRESS), SCRATCH));

#[test]
fn good_drafts_are_told_apart() {
    assert_eq!(draft(POP).verdict(), Ok(Primitive::Pop));
    assert_eq!(draft(PUSH).verdict(), Ok(Primitive::Push));
    assert_eq!(draft(SWAP_IF).verdict(), Ok(Primitive::SwapIf));
    assert_eq!(draft(UNCHAIN).verdict(), Ok(Primitive::Unchain));
    assert_eq!(law::intruder(&draft(POP).assemble().0), None);
}

#[test]
fn bad_descriptors_are_found() {
    let (image, good) = draft(POP).assemble();
    let refused = |bad: Descriptor, rule: &str| {
        let verdict = law::check(&image, &bad);
        assert!(verdict.as_ref().is_err_and(|what| what.contains(rule)), "expected {rule:?}, found {verdict:?}");
    };
    refused(Descriptor { version: 1, ..good }, "version and flags are 0");
    refused(Descriptor { flags: 4, ..good }, "version and flags are 0");
    refused(Descriptor { at: ORIGIN + 8, ..good }, "aligned to 32");
    refused(Descriptor { length: 0, ..good }, "not empty");
    refused(Descriptor { abort: good.start + 3, ..good }, "outside the section");
    refused(Descriptor { abort: good.abort + 1, ..good }, "signature");
    refused(Descriptor { length: good.length - 1, ..good }, "ends between instructions");
    refused(Descriptor { start: good.start + 1, length: good.length - 1, ..good }, "starts between instructions");
    refused(Descriptor { length: good.length - 3, ..good }, "ends with its commit");
    refused(Descriptor { length: good.length + 1, ..good }, "stores before the end");
    refused(Descriptor { at: ORIGIN + 32, ..good }, "does not arm it");
}

#[test]
fn bad_handlers_are_found() {
    let good = draft(POP);
    Draft { signature: SIGNATURE + 1, ..good }.breaks("signature");
    Draft { abort: part!(a, l: ret()), ..good }.breaks("the abort handler is a jump");
    Draft { abort: part!(a, l: nop(); jmp(l.restart)), ..good }.breaks("the abort handler is a jump");
    Draft { abort: part!(a, l: jmp(l.start)), ..good }.breaks("before the section");
    Draft { abort: part!(a, l: jmp(l.out)), ..good }.breaks("before the section");
    let late = part!(a, l: mov(SCRATCH, qword_ptr(TABLE + 8)); lea(ADDRESS, qword_ptr(l.descriptor)); nop());
    Draft { arm: late, ..good }.breaks("the last instruction before the section arms it");
    let other =
        part!(a, l: mov(SCRATCH, qword_ptr(TABLE + 8)); lea(ADDRESS, qword_ptr(l.out)); mov(qword_ptr(SCRATCH).fs(), ADDRESS));
    Draft { arm: other, ..good }.breaks("does not arm it");
    let over = part!(a, l:
        mov(SCRATCH, qword_ptr(TABLE + 8)); test(SCRATCH, SCRATCH); jz(l.start);
        lea(ADDRESS, qword_ptr(l.descriptor)); mov(qword_ptr(SCRATCH).fs(), ADDRESS));
    Draft { arm: over, ..good }.breaks("jumps over the arming");
}

#[test]
fn what_must_not_be_inside_is_found() {
    let inside = |part: Part<'_>, rule: &str| {
        draft(&|a, l| {
            part(a, l);
            POP(a, l);
        })
        .breaks(rule);
    };
    inside(part!(a, l: call(l.out)), "calls, returns or traps");
    inside(part!(a, l: call(BASE)), "calls, returns or traps");
    inside(part!(a, l: syscall()), "calls, returns or traps");
    inside(part!(a, l: ret()), "calls, returns or traps");
    inside(part!(a, l: int(0x80)), "calls, returns or traps");
    inside(part!(a, l: int3()), "calls, returns or traps");
    inside(part!(a, l: ud2()), "calls, returns or traps");
    inside(part!(a, l: jmp(BASE)), "calls, returns or traps");
    inside(part!(a, l: push(BASE)), "touches the stack");
    inside(part!(a, l: pop(BASE)), "touches the stack");
    inside(part!(a, l: mov(qword_ptr(rsp + 8), BASE)), "touches the stack");
    inside(part!(a, l: test(BASE, BASE); jz(l.start)), "jumps back");
    inside(part!(a, l: test(BASE, BASE); jz(l.restart)), "jumps back");
    inside(&|a, _| a.rep().stosb().unwrap(), "repeats");
}

#[test]
fn stores_in_the_wrong_place_are_found() {
    draft(part!(a, l: mov(SCRATCH, qword_ptr(ADDRESS)); sub(SCRATCH, 8); mov(qword_ptr(ADDRESS), SCRATCH); nop()))
        .breaks("stores before the end");
    draft(part!(a, l: mov(SCRATCH, qword_ptr(ADDRESS)); mov(qword_ptr(ADDRESS), SCRATCH); mov(qword_ptr(ADDRESS), NEW)))
        .breaks("stores before the end");
    // Below the top, and above a word that is committed as it was: live slots.
    draft(part!(a, l: mov(SCRATCH, qword_ptr(ADDRESS)); mov(qword_ptr(BASE + SCRATCH - 8), OBJECT);
        add(SCRATCH, 8); mov(qword_ptr(ADDRESS), SCRATCH)))
    .breaks("not above the top");
    draft(part!(a, l: mov(SCRATCH, qword_ptr(ADDRESS)); mov(qword_ptr(BASE + SCRATCH), OBJECT); mov(qword_ptr(ADDRESS), NEW)))
        .breaks("does not move");
    draft(part!(a, l: mov(SCRATCH, qword_ptr(ADDRESS)); add(SCRATCH, 8); mov(qword_ptr(BASE + SCRATCH), OBJECT);
        mov(qword_ptr(ADDRESS), SCRATCH)))
    .breaks("not above the top");
    // Elsewhere: the table, a word that was not looked at, somebody else's row.
    draft(part!(a, l: cmp(qword_ptr(ADDRESS), OLD); jne(l.out); mov(qword_ptr(TABLE + 32), NEW))).breaks("another place");
    draft(part!(a, l: cmp(qword_ptr(ADDRESS), OLD); jne(l.out); mov(qword_ptr(ADDRESS + 8), NEW))).breaks("another place");
    draft(part!(a, l: cmp(qword_ptr(ADDRESS), OLD); jne(l.out); add(ADDRESS, 8); mov(qword_ptr(ADDRESS), NEW)))
        .breaks("another place");
    draft(part!(a, l: mov(qword_ptr(ADDRESS), NEW))).breaks("another place");
    draft(part!(a, l: cmp(qword_ptr(OBJECT), OLD); jne(l.out); mov(qword_ptr(OBJECT), NEW))).breaks("another place");
    // In another way.
    draft(part!(a, l: cmp(qword_ptr(ADDRESS), OLD); jne(l.out); mov(dword_ptr(ADDRESS), r10d))).breaks("plain move of eight bytes");
    draft(part!(a, l: cmp(qword_ptr(ADDRESS), OLD); jne(l.out); add(qword_ptr(ADDRESS), NEW))).breaks("plain move of eight bytes");
    draft(&|a, _| a.lock().xadd(qword_ptr(ADDRESS), SCRATCH).unwrap()).breaks("is locked");
    draft(part!(a, l: mov(SCRATCH, qword_ptr(ADDRESS)); test(SCRATCH, SCRATCH); jz(l.out))).breaks("ends with its commit");
}

#[test]
fn the_row_of_another_cpu_is_found() {
    // The id is read before the section: the thread may have moved since.
    let early = Draft {
        arm: part!(a, l:
            mov(ADDRESS, qword_ptr(TABLE + 16)); mov(r11d, dword_ptr(ADDRESS).fs()); mov(SCRATCH, qword_ptr(TABLE + 8));
            lea(ADDRESS, qword_ptr(l.descriptor)); mov(qword_ptr(SCRATCH).fs(), ADDRESS)),
        row: part!(a, l: shl(r11, 16); add(r11, qword_ptr(TABLE)); mov(ADDRESS, r11)),
        ..draft(SWAP_IF)
    };
    early.breaks("another place");
}

#[test]
fn registers_that_an_abort_spoils_are_found() {
    // Loaded before the restart address, overwritten behind it.
    let loaded_early = Draft {
        before: part!(a, l: mov(BASE, qword_ptr(TABLE))),
        row: part!(a, l: mov(ADDRESS, qword_ptr(TABLE + 16)); mov(edx, dword_ptr(ADDRESS).fs()); shl(ADDRESS, 16);
            add(ADDRESS, OFFSET); add(ADDRESS, BASE)),
        ..draft(POP)
    };
    loaded_early.breaks("reads RAX, which an abort may have changed");
    // An input that is written.
    draft(part!(a, l: mov(SCRATCH, qword_ptr(ADDRESS)); add(OFFSET, 8); mov(qword_ptr(ADDRESS), SCRATCH))).breaks("reads RSI");
    // Written on one of two paths only.
    draft(&|a, _| {
        let mut label = a.create_label();
        a.test(OLD, OLD).unwrap();
        a.jz(label).unwrap();
        a.mov(r11, qword_ptr(TABLE)).unwrap();
        a.set_label(&mut label).unwrap();
        a.cmp(qword_ptr(ADDRESS), r11).unwrap();
        a.mov(qword_ptr(ADDRESS), NEW).unwrap();
    })
    .breaks("reads R11");
    // Only part of a register is written.
    draft(part!(a, l: mov(r11b, 1); cmp(qword_ptr(ADDRESS), r11); mov(qword_ptr(ADDRESS), NEW))).breaks("reads R11");
    let flags = Draft {
        arm: part!(a, l: mov(SCRATCH, qword_ptr(TABLE + 8)); jz(l.out);
        lea(ADDRESS, qword_ptr(l.descriptor)); mov(qword_ptr(SCRATCH).fs(), ADDRESS)),
        ..draft(POP)
    };
    flags.breaks("reads flags");
}

#[test]
fn jumps_into_the_middle_are_found() {
    let found = |before: Part<'_>, after: Part<'_>| {
        let (image, descriptor) = Draft { before, after, ..draft(SWAP_IF) }.assemble();
        assert_eq!(law::check(&image, &descriptor), Ok(Primitive::SwapIf));
        law::intruder(&image)
    };
    assert_eq!(found(part!(a, l: jmp(l.restart)), part!(a, l: jmp(l.restart))), None);
    assert!(found(&nothing, part!(a, l: test(OLD, OLD); jz(l.start))).is_some_and(|what| what.contains("enters")));
    assert!(found(part!(a, l: call(l.start)), &nothing).is_some_and(|what| what.contains("enters")));
}
