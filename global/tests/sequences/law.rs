//! The law of a restartable sequence, checked on its instructions.
//!
//! 1. The descriptor: version and flags 0, aligned to 32, the signature before the abort address, which lies outside the section.
//! 2. The abort handler jumps back to the *restart* address, which lies before the section. From there on, one straight line arms
//!    this very descriptor with the last instruction before the section, and stores nothing else.
//! 3. Inside, nothing calls, returns, traps or touches the stack, and jumps lead forward or out. Nothing else in the executable jumps
//!    behind the restart address.
//! 4. The last instruction is the commit: a plain store of eight bytes through one register, which was derived from the id that the
//!    section has read itself, so the word lies in the own row; and it is the word that the section has looked at. Or it is one aligned
//!    store of sixteen bytes, `movdqa`, through such a register: then the section has gone on only because the eight bytes behind that
//!    word were what the caller gave, and the vector register is made, by `movq` and `punpcklqdq` alone, of
//!    * the low half: that word as the caller gave it, low three bits cleared, moved by 8 or by -8;
//!    * the high half: the word that was looked at, or-ed with an input.
//! 5. One other store is allowed, that of `push` and `rotate_push`: at an index that is the very word that the commit replaces, or the
//!    word behind, low three bits cleared, if the commit then moves it by 8. It writes the slot above the top, which nobody reads before
//!    the commit. If the commit moves the word behind by -8, the slot below its top has been read inside the section.
//! 6. But for `pop` and `push`, the commit is reached only if four bytes of the table, compared inside the section, are what the
//!    caller gave: the epoch.
//! 7. Every register, and the flags, is read after it was written behind the restart address, or never written there at all.

use super::image::{Descriptor, Image, SIGNATURE, text};
use super::values::{State, Value, Way};
use iced_x86::{
    FlowControl, Instruction, InstructionInfo, InstructionInfoFactory, InstructionInfoOptions, Mnemonic, OpAccess, OpKind, Register,
};

/// The primitives of `kmem_base::percpu`, told apart by what they commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Primitive {
    /// Commits the word that it has read, moved.
    Pop,
    /// The same, after it has stored an object above the top.
    Push,
    /// Commits both words of a pair, exchanged, after it has read an object of the spare sheaf.
    RotatePop,
    /// The same, after it has stored an object there.
    RotatePush,
    /// Commits a word that its caller gave.
    SwapIf,
    /// Commits the link that it has read from a block.
    Unchain,
}

/// A section with what leads to it.
pub(crate) struct Sequence<'a> {
    descriptor: &'a Descriptor,
    restart: u64,
    /// From the restart address to the end, in order.
    instructions: Vec<Instruction>,
}

/// Checks one sequence. The error says which rule is broken, and by which instruction.
pub(crate) fn check(image: &Image, descriptor: &Descriptor) -> Result<Primitive, String> {
    let sequence = Sequence::find(image, descriptor)?;
    let mut factory = InstructionInfoFactory::new();
    let infos: Vec<_> =
        sequence.instructions.iter().map(|found| factory.info_options(found, InstructionInfoOptions::NONE).clone()).collect();
    for (instruction, info) in sequence.instructions.iter().zip(&infos) {
        sequence.is_harmless(instruction, info).map_err(|what| format!("{what}: {}", text(instruction)))?;
    }
    sequence.follow(&infos)
}

/// The first jump of the executable into the middle of one of its sequences.
pub(crate) fn intruder(image: &Image) -> Option<String> {
    let mut sequences: Vec<_> = image.descriptors.iter().filter_map(|found| Sequence::find(image, found).ok()).collect();
    sequences.sort_by_key(|sequence| sequence.restart);
    let signatures: std::collections::HashSet<_> = image.descriptors.iter().map(|found| found.abort.wrapping_sub(4)).collect();
    let crosses = |from: u64, to: u64| {
        // They do not overlap, so the last that begins before it is the only one that it can be in.
        let before = sequences.partition_point(|sequence| sequence.restart < to);
        let sequence = &sequences[before.checked_sub(1)?];
        let outside = !(sequence.restart..sequence.descriptor.end()).contains(&from);
        (to < sequence.descriptor.end() && outside).then_some(sequence)
    };
    for (first, bytes) in &image.code {
        let mut at = *first;
        while at < first + bytes.len() as u64 {
            if signatures.contains(&at) {
                at += 4;
                continue;
            }
            let Some(instruction) = image.instruction(at) else {
                at += 1;
                continue;
            };
            if is_near(&instruction)
                && let Some(sequence) = crosses(at, instruction.near_branch_target())
            {
                return Some(format!("enters the section at {:#x}: {}", sequence.descriptor.start, text(&instruction)));
            }
            at = instruction.next_ip();
        }
    }
    None
}

fn is_near(instruction: &Instruction) -> bool {
    matches!(instruction.op0_kind(), OpKind::NearBranch64 | OpKind::NearBranch32 | OpKind::NearBranch16)
}

fn require(holds: bool, rule: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(rule.to_owned()) }
}

impl<'a> Sequence<'a> {
    /// Rules 1 and 2, as far as they need no data flow.
    fn find(image: &Image, descriptor: &'a Descriptor) -> Result<Self, String> {
        require(descriptor.version == 0 && descriptor.flags == 0, "version and flags are 0")?;
        require(descriptor.at.is_multiple_of(32), "the descriptor is aligned to 32")?;
        require(descriptor.length > 0, "the section is not empty")?;
        require(!descriptor.covers(descriptor.abort), "the abort handler is outside the section")?;
        require(image.signature(descriptor.abort) == Some(SIGNATURE), "the signature stands before the abort handler")?;
        let handler = image.instruction(descriptor.abort).ok_or("the abort handler is code")?;
        let jumps = handler.flow_control() == FlowControl::UnconditionalBranch && is_near(&handler);
        require(jumps, "the abort handler is a jump")?;
        let restart = handler.near_branch_target();
        require(restart < descriptor.start, "the restart address is before the section")?;
        let mut instructions = Vec::new();
        let mut at = restart;
        while at < descriptor.end() {
            let instruction = image.instruction(at).ok_or_else(|| format!("no instruction at {at:#x}"))?;
            at = instruction.next_ip();
            instructions.push(instruction);
        }
        require(at == descriptor.end(), "the section ends between instructions")?;
        let starts = instructions.iter().any(|instruction| instruction.ip() == descriptor.start);
        require(starts, "the section starts between instructions")?;
        Ok(Self { descriptor, restart, instructions })
    }

    /// Rule 3, of one instruction.
    fn is_harmless(&self, instruction: &Instruction, info: &InstructionInfo) -> Result<(), String> {
        let plain = matches!(
            instruction.flow_control(),
            FlowControl::Next | FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
        );
        require(plain, "calls, returns or traps")?;
        let stack = info.used_registers().iter().any(|used| used.register().full_register() == Register::RSP);
        require(!stack && !instruction.is_stack_instruction(), "touches the stack")?;
        let repeats = instruction.has_rep_prefix() || instruction.has_repne_prefix() || instruction.is_string_instruction();
        require(!repeats, "repeats")?;
        require(!instruction.has_lock_prefix(), "is locked")?;
        if instruction.flow_control() != FlowControl::Next {
            let target = instruction.near_branch_target();
            let inside = (self.restart..self.descriptor.end()).contains(&target);
            require(!inside || target > instruction.ip(), "jumps back")?;
            let lands = !inside || self.instructions.iter().any(|other| other.ip() == target);
            require(lands, "jumps between instructions")?;
            let skips = instruction.ip() < self.descriptor.start && inside && target >= self.descriptor.start;
            require(!skips, "jumps over the arming")?;
        }
        Ok(())
    }

    /// Rules 2 and 4 to 7: goes through the instructions in order, which is along every path, since jumps lead forward.
    fn follow(&self, infos: &[InstructionInfo]) -> Result<Primitive, String> {
        let mut states: Vec<Option<State>> = vec![None; self.instructions.len()];
        states[0] = Some(State::new(self.changed(infos)));
        let (mut early, mut committed) = (None, None);
        for (at, (instruction, info)) in self.instructions.iter().zip(infos).enumerate() {
            let Some(mut state) = states[at].take() else { continue };
            let broken = |what: &str| format!("{what}: {}", text(instruction));
            state.may_read(instruction, info).map_err(|what| broken(&what))?;
            if stores(info) {
                match self.store(instruction, &state) {
                    Ok(Store::Arming) => {}
                    Ok(Store::AboveTop(_)) if early.is_some() => return Err(broken("stores above the top twice")),
                    Ok(Store::AboveTop(top)) => early = Some(top),
                    Ok(Store::Commit(value)) => committed = Some((value, state.clone())),
                    Err(what) => return Err(broken(what)),
                }
            }
            let inside = instruction.ip() >= self.descriptor.start;
            state.apply(instruction, info, inside);
            self.hand_on(instruction, at, &state, &mut states);
        }
        let armed =
            self.instructions.iter().zip(infos).any(|(found, info)| found.next_ip() == self.descriptor.start && stores(info));
        require(armed, "the last instruction before the section arms it")?;
        let (value, state) = committed.ok_or("the section ends with its commit")?;
        let primitive = match (value, early) {
            (Value::Moved, Some(Value::Word)) => Primitive::Push,
            (Value::Pair(Way::Up), Some(Value::SpareTop)) => Primitive::RotatePush,
            (_, Some(_)) => return Err("stores above the top of a word that it does not move".to_owned()),
            (Value::Moved, None) => Primitive::Pop,
            (Value::Pair(Way::Down), None) if state.taken() => Primitive::RotatePop,
            (Value::Pair(_), None) => return Err("moves a top, and neither stores nor reads the object".to_owned()),
            (Value::Input, None) => Primitive::SwapIf,
            (Value::Link, None) => Primitive::Unchain,
            (other, None) => return Err(format!("commits what no primitive commits: {other:?}")),
        };
        let fast = matches!(primitive, Primitive::Pop | Primitive::Push);
        require(fast || state.epoch(), "compares the epoch")?;
        Ok(primitive)
    }

    /// The registers that are written behind the restart address: after an abort they hold anything.
    fn changed(&self, infos: &[InstructionInfo]) -> Vec<Register> {
        let used = infos.iter().flat_map(InstructionInfo::used_registers);
        used.filter(|used| writes(used.access())).map(|used| used.register().full_register()).collect()
    }

    /// Which of the stores that are allowed this one is.
    fn store(&self, instruction: &Instruction, state: &State) -> Result<Store, &'static str> {
        let (base, index) = (instruction.memory_base(), instruction.memory_index());
        let way = (instruction.mnemonic(), instruction.memory_size().size());
        let wide = way == (Mnemonic::Movdqa, 16);
        if !(wide || way == (Mnemonic::Mov, 8)) || instruction.op1_kind() != OpKind::Register {
            return Err("stores in another way than by a plain move of eight bytes, or an aligned one of sixteen");
        }
        let (source, last) = (instruction.op1_register(), instruction.next_ip() == self.descriptor.end());
        if instruction.ip() < self.descriptor.start {
            let arms = instruction.segment_prefix() == Register::FS
                && instruction.next_ip() == self.descriptor.start
                && state.value(source) == Value::Address(self.descriptor.at);
            return if arms { Ok(Store::Arming) } else { Err("stores before the section, and does not arm it") };
        }
        let bare = instruction.segment_prefix() == Register::None && instruction.memory_displacement64() == 0;
        let looked_at = if wide { state.pair() } else { state.examined() };
        let examined = bare && index == Register::None && looked_at == Some(base);
        let top = state.top(instruction).filter(|top| bare && !wide && matches!(top, Value::Word | Value::SpareTop));
        match (last, examined, top) {
            (true, true, _) if wide && !matches!(state.value(source), Value::Pair(_)) => {
                Err("commits sixteen bytes that are no pair exchanged")
            }
            (true, true, _) => Ok(Store::Commit(state.value(source))),
            (true, false, _) => Err("commits to another place than the word of the own row that it has looked at"),
            (false, _, Some(top)) => Ok(Store::AboveTop(top)),
            (false, ..) => Err("stores before the end, and not above the top"),
        }
    }

    /// Joins the state into those of the instructions that can be next.
    fn hand_on(&self, instruction: &Instruction, at: usize, state: &State, states: &mut [Option<State>]) {
        let mut join = |to: usize, jumps: bool| {
            let state = state.branch(instruction, jumps);
            let joined = states[to].take().map_or_else(|| state.clone(), |other| other.join(&state));
            states[to] = Some(joined);
        };
        if instruction.flow_control() != FlowControl::UnconditionalBranch && at + 1 < self.instructions.len() {
            join(at + 1, false);
        }
        if instruction.flow_control() != FlowControl::Next {
            let target = instruction.near_branch_target();
            let found = self.instructions.iter().position(|other| other.ip() == target);
            found.into_iter().for_each(|to| join(to, true));
        }
    }
}

/// The stores that are allowed.
enum Store {
    Arming,
    /// At this word.
    AboveTop(Value),
    Commit(Value),
}

pub(crate) fn writes(access: OpAccess) -> bool {
    matches!(access, OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite)
}

pub(crate) fn reads(access: OpAccess) -> bool {
    matches!(access, OpAccess::Read | OpAccess::CondRead | OpAccess::ReadWrite | OpAccess::ReadCondWrite)
}

fn stores(info: &InstructionInfo) -> bool {
    info.used_memory().iter().any(|used| writes(used.access()))
}
