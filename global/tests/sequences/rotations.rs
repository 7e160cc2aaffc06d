//! Exchanges of main and spare word made by hand: each way to break the law is found.

use super::drafts::*;
use super::law::{self, Primitive};
use iced_x86::code_asm::*;

/// What a sequence of this kind does, in parts, each of which a test can replace.
#[derive(Clone, Copy)]
struct Rotation<'a> {
    epoch: Part<'a>,
    spare: Part<'a>,
    top: Part<'a>,
    object: Part<'a>,
    moves: Part<'a>,
    low: Part<'a>,
    main: Part<'a>,
    marks: Part<'a>,
    high: Part<'a>,
    joins: Part<'a>,
    commit: Part<'a>,
}

const POP: Rotation<'_> = Rotation {
    epoch: SAME_EPOCH,
    spare: part!(a, l: cmp(qword_ptr(ADDRESS + 8), OLD); jne(l.out)),
    top: part!(a, l: mov(SCRATCH, OLD); and(SCRATCH, -8)),
    object: part!(a, l: mov(BASE, qword_ptr(BASE + SCRATCH - 8)); test(BASE, BASE); jz(l.end)),
    moves: part!(a, l: sub(SCRATCH, 8)),
    low: part!(a, l: movq(xmm0, SCRATCH)),
    main: part!(a, l: mov(SCRATCH, qword_ptr(ADDRESS))),
    marks: part!(a, l: or(SCRATCH, TURNS)),
    high: part!(a, l: movq(xmm1, SCRATCH)),
    joins: part!(a, l: punpcklqdq(xmm0, xmm1)),
    commit: part!(a, l: movdqa(xmmword_ptr(ADDRESS), xmm0)),
};
const PUSH: Rotation<'_> =
    Rotation { object: part!(a, l: mov(qword_ptr(BASE + SCRATCH), OBJECT)), moves: part!(a, l: add(SCRATCH, 8)), ..POP };
const BOTH: [Rotation<'_>; 2] = [POP, PUSH];

impl Rotation<'_> {
    fn write(&self, a: &mut CodeAssembler, l: &mut Labels) {
        let found = [self.epoch, self.spare, self.top, self.object, self.moves];
        let built = [self.low, self.main, self.marks, self.high, self.joins, self.commit];
        found.iter().chain(&built).for_each(|part| part(a, l));
    }

    #[track_caller]
    fn breaks(self, rule: &str) {
        draft(&|a, l| self.write(a, l)).breaks(rule);
    }
}

#[test]
fn good_rotations_are_told_apart() {
    assert_eq!(draft(&|a, l| POP.write(a, l)).verdict(), Ok(Primitive::RotatePop));
    assert_eq!(draft(&|a, l| PUSH.write(a, l)).verdict(), Ok(Primitive::RotatePush));
    assert_eq!(law::intruder(&draft(&|a, l| PUSH.write(a, l)).assemble().0), None);
}

#[test]
fn commits_in_another_way_or_place_are_found() {
    for good in BOTH {
        let commit = |commit: Part<'_>, rule: &str| Rotation { commit, ..good }.breaks(rule);
        commit(part!(a, l: movdqu(xmmword_ptr(ADDRESS), xmm0)), "stores in another way");
        commit(part!(a, l: movntdq(xmmword_ptr(ADDRESS), xmm0)), "stores in another way");
        commit(part!(a, l: movq(qword_ptr(ADDRESS), xmm0)), "stores in another way");
        commit(part!(a, l: movdqa(xmmword_ptr(ADDRESS + 16), xmm0)), "another place");
        commit(part!(a, l: movdqa(xmmword_ptr(ADDRESS + OFFSET), xmm0)), "another place");
        commit(part!(a, l: movdqa(xmmword_ptr(OBJECT), xmm0)), "another place");
        commit(part!(a, l: add(ADDRESS, 16); movdqa(xmmword_ptr(ADDRESS), xmm0)), "another place");
        commit(part!(a, l: movdqa(xmmword_ptr(ADDRESS), xmm0); movdqa(xmmword_ptr(ADDRESS), xmm0)), "stores before the end");
        commit(part!(a, l: movdqa(xmmword_ptr(ADDRESS), xmm0); nop()), "stores before the end");
    }
    // The main word alone, in eight bytes; and one word after the other.
    Rotation { low: part!(a, l: mov(r11, SCRATCH)), commit: part!(a, l: mov(qword_ptr(ADDRESS), r11)), joins: &nothing, ..POP }
        .breaks("commits what no primitive commits");
    let halves = part!(a, l: mov(qword_ptr(ADDRESS), r11); mov(qword_ptr(ADDRESS + 8), SCRATCH));
    Rotation { low: part!(a, l: mov(r11, SCRATCH)), joins: &nothing, commit: halves, ..POP }.breaks("stores before the end");
    Rotation { low: part!(a, l: mov(r11, SCRATCH)), joins: &nothing, commit: halves, ..PUSH }.breaks("stores before the end");
}

#[test]
fn vectors_made_of_something_else_are_found() {
    let rule = "commits sixteen bytes that are no pair exchanged";
    for good in BOTH {
        let high = |main: Part<'_>, marks: Part<'_>| Rotation { main, marks, ..good }.breaks(rule);
        // The word of another place, the caller's, or none; moved, or marked by what was computed.
        high(part!(a, l: mov(SCRATCH, qword_ptr(ADDRESS)); mov(SCRATCH, qword_ptr(TABLE + 32))), good.marks);
        high(part!(a, l: cmp(qword_ptr(ADDRESS), NEW); mov(SCRATCH, NEW)), good.marks);
        high(good.main, &nothing);
        high(good.main, part!(a, l: sub(SCRATCH, 8); or(SCRATCH, TURNS)));
        high(good.main, part!(a, l: or(SCRATCH, BASE)));
        high(good.main, part!(a, l: or(ecx, r14d)));
        let low = |moves: Part<'_>| Rotation { moves, ..good }.breaks(rule);
        low(&nothing);
        low(part!(a, l: sub(SCRATCH, 16)));
        low(part!(a, l: add(SCRATCH, 16)));
        low(part!(a, l: sub(ecx, 8)));
        low(part!(a, l: mov(SCRATCH, NEW); sub(SCRATCH, 8)));
        Rotation { joins: &nothing, ..good }.breaks(rule);
        Rotation { joins: part!(a, l: punpcklqdq(xmm1, xmm0); movdqa(xmm0, xmm1)), ..good }.breaks(rule);
        Rotation { joins: part!(a, l: punpckhqdq(xmm0, xmm1)), ..good }.breaks(rule);
        Rotation { joins: part!(a, l: punpcklqdq(xmm0, xmm1); pxor(xmm0, xmm1)), ..good }.breaks(rule);
        Rotation { joins: part!(a, l: punpcklqdq(xmm0, xmm1); vpxor(ymm0, ymm0, ymm1)), ..good }.breaks(rule);
        // Inputs: what an abort restarts with.
        Rotation { commit: part!(a, l: movdqa(xmmword_ptr(ADDRESS), xmm5)), ..good }.breaks(rule);
    }
    // With the low bits, the top of a spare sheaf is not its word.
    Rotation { top: part!(a, l: mov(SCRATCH, OLD)), ..POP }.breaks(rule);
    Rotation { top: part!(a, l: mov(SCRATCH, OLD)), ..PUSH }.breaks("not above the top");
    Rotation { top: part!(a, l: mov(SCRATCH, OLD); and(SCRATCH, -16)), ..PUSH }.breaks("not above the top");
    // The way of the one with the object of the other.
    Rotation { moves: PUSH.moves, ..POP }.breaks("neither stores nor reads the object");
    Rotation { moves: POP.moves, ..PUSH }.breaks("does not move");
}

#[test]
fn words_that_are_not_compared_are_found() {
    let place = "another place";
    for (good, unknown) in [(POP, place), (PUSH, "not above the top")] {
        let spare = |spare: Part<'_>, rule: &str| Rotation { spare, ..good }.breaks(rule);
        spare(&nothing, unknown);
        spare(part!(a, l: cmp(qword_ptr(ADDRESS + 8), OLD)), unknown);
        spare(part!(a, l: cmp(qword_ptr(ADDRESS + 8), OLD); je(l.out)), unknown);
        spare(part!(a, l: cmp(qword_ptr(ADDRESS + 8), OLD); jb(l.out)), unknown);
        spare(part!(a, l: cmp(qword_ptr(ADDRESS + 8), OLD); test(OLD, OLD); jne(l.out)), unknown);
        spare(part!(a, l: cmp(dword_ptr(ADDRESS + 8), r9d); jne(l.out)), unknown);
        spare(part!(a, l: cmp(qword_ptr(ADDRESS + 16), OLD); jne(l.out)), unknown);
        spare(part!(a, l: cmp(qword_ptr(ADDRESS), OLD); jne(l.out)), unknown);
        spare(part!(a, l: cmp(qword_ptr(OBJECT + 8), OLD); jne(l.out)), unknown);
        spare(
            part!(a, l: cmp(qword_ptr(ADDRESS + 8), NEW); jne(l.out)),
            if unknown == place { "no pair exchanged" } else { unknown },
        );
        let epoch = |epoch: Part<'_>| Rotation { epoch, ..good }.breaks("compares the epoch");
        epoch(&nothing);
        epoch(part!(a, l: cmp(dword_ptr(TABLE + CONTROL), EPOCH)));
        epoch(part!(a, l: cmp(dword_ptr(TABLE + CONTROL), EPOCH); je(l.out)));
        epoch(part!(a, l: cmp(word_ptr(TABLE + CONTROL), r13w); jne(l.out)));
        epoch(part!(a, l: cmp(dword_ptr(ADDRESS), EPOCH); jne(l.out)));
        // Looked at through another pointer than the one that the commit goes through.
        let copied = part!(a, l: mov(r11, ADDRESS); mov(SCRATCH, qword_ptr(r11)));
        Rotation { main: copied, ..good }.breaks(place);
        let moved = part!(a, l: lea(ADDRESS, qword_ptr(ADDRESS + 16)); mov(SCRATCH, qword_ptr(ADDRESS)));
        Rotation { main: moved, ..good }.breaks(place);
    }
}

#[test]
fn an_epoch_compared_before_the_section_is_found() {
    for good in BOTH {
        let work: Part<'_> = &|a, l| Rotation { epoch: &nothing, ..good }.write(a, l);
        let sequence = draft(work);
        let arm: Part<'_> = &|a, l| {
            SAME_EPOCH(a, l);
            (sequence.arm)(a, l);
        };
        Draft { arm, ..sequence }.breaks("compares the epoch");
    }
    let unchecked = part!(a, l: cmp(qword_ptr(ADDRESS), OLD); jne(l.out); mov(qword_ptr(ADDRESS), NEW));
    draft(unchecked).breaks("compares the epoch");
}

#[test]
fn objects_and_vectors_from_before_the_section_are_found() {
    // The object is read behind the restart address, but before the section.
    let object: Part<'_> = &|a, l| Rotation { object: &nothing, ..POP }.write(a, l);
    let sequence = draft(object);
    let early: Part<'_> = &|a, l| {
        a.mov(r11, qword_ptr(TABLE)).unwrap();
        a.mov(SCRATCH, OLD).unwrap();
        a.and(SCRATCH, -8).unwrap();
        a.mov(r11, qword_ptr(r11 + SCRATCH - 8)).unwrap();
        (sequence.arm)(a, l);
    };
    sequence.breaks("neither stores nor reads the object");
    Draft { arm: early, ..sequence }.breaks("neither stores nor reads the object");
    // Of another sheaf, or another slot of it.
    Rotation { object: part!(a, l: mov(r11, qword_ptr(BASE + SCRATCH - 16))), ..POP }.breaks("neither stores nor reads");
    Rotation { object: part!(a, l: mov(r11, qword_ptr(BASE + NEW - 8))), ..POP }.breaks("neither stores nor reads");
    Rotation { object: part!(a, l: mov(qword_ptr(BASE + SCRATCH - 8), OBJECT)), ..PUSH }.breaks("not above the top");
    Rotation { object: &nothing, ..PUSH }.breaks("neither stores nor reads");
    // A vector that was made before the restart address, and is overwritten behind it.
    for good in BOTH {
        let work: Part<'_> = &|a, l| Rotation { high: &nothing, ..good }.write(a, l);
        Draft { before: part!(a, l: movq(xmm0, NEW)), ..draft(&|a, l| Rotation { low: &nothing, ..good }.write(a, l)) }
            .breaks("reads ZMM0, which an abort may have changed");
        // One that is only read behind it is the caller's: not the main word.
        Draft { before: part!(a, l: movq(xmm1, NEW)), ..draft(work) }.verdict().unwrap_err();
    }
}
