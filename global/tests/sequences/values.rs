//! What the registers of a sequence hold at an instruction, as far as the law asks.

use super::law::{reads, writes};
use iced_x86::{ConditionCode, FlowControl, Instruction, InstructionInfo, Mnemonic, OpKind, Register};
use std::collections::BTreeMap;

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    /// The caller; never written behind the restart address.
    Input,
    /// An address that the code itself contains.
    Address(u64),
    /// Loaded through inputs: from the table.
    Loaded,
    /// Computed from the id that was read inside the section.
    Row,
    /// Loaded through [`Self::Row`]: a queue's word.
    Word,
    /// Computed from [`Self::Word`].
    Moved,
    /// Loaded through a word, from a sheaf or a chained block.
    Link,
    /// [`Self::Word`] or-ed with an input: what becomes of a main word that becomes a spare one.
    Marked,
    /// An input that the section has found equal to the spare word.
    Spare,
    /// [`Self::Spare`] without its low three bits.
    SpareTop,
    /// [`Self::SpareTop`] moved by one object.
    SpareMoved(Way),
    /// Sixteen bytes: below a moved spare word, above a marked main word.
    Pair(Way),
    /// Anything else.
    Other,
}

/// Which way the top of a sheaf was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By -8.
    Down,
    /// By 8.
    Up,
}

/// What a comparison says if it finds equality.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fact {
    /// Four bytes of the table are what the caller says.
    Epoch,
    /// The word behind the one that a register points to is what an input holds.
    Spare(Spare),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spare {
    through: Register,
    input: Register,
}

/// What is known before an instruction, on every path to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// Registers that are written somewhere behind the restart address.
    changed: Vec<Register>,
    /// Those of them that have been written on the way here.
    values: BTreeMap<u32, Value>,
    /// The bits of the flags that have been written on the way here.
    flags: u32,
    /// The register through which a word of the own row was looked at, if it still holds its address.
    examined: Option<Register>,
    /// What the last instruction compared.
    compared: Option<Fact>,
    /// The section goes on only in the epoch that the caller gave.
    epoch: bool,
    /// The section goes on only if this is so; forgotten when its pointer is overwritten.
    spare: Option<Spare>,
    /// The object below the top of the spare sheaf has been read.
    taken: bool,
}

impl State {
    /// At the restart address.
    pub(crate) fn new(changed: Vec<Register>) -> Self {
        let (values, flags, examined, compared) = (BTreeMap::new(), 0, None, None);
        Self { changed, values, flags, examined, compared, epoch: false, spare: None, taken: false }
    }

    pub(crate) fn value(&self, register: Register) -> Value {
        let register = register.full_register();
        let unwritten = if self.changed.contains(&register) { Value::Other } else { Value::Input };
        self.values.get(&(register as u32)).copied().unwrap_or(unwritten)
    }

    pub(crate) fn examined(&self) -> Option<Register> {
        self.examined
    }

    /// The pointer to the pair whose spare word is known and whose main word was looked at.
    pub(crate) fn pair(&self) -> Option<Register> {
        self.spare.map(|spare| spare.through).filter(|_| self.examined == self.spare.map(|spare| spare.through))
    }

    pub(crate) fn epoch(&self) -> bool {
        self.epoch
    }

    pub(crate) fn taken(&self) -> bool {
        self.taken
    }

    /// The state where the jump after a comparison leads, or behind it.
    #[must_use]
    pub(crate) fn branch(&self, instruction: &Instruction, jumps: bool) -> Self {
        let mut state = self.clone();
        let equal = if jumps { ConditionCode::e } else { ConditionCode::ne };
        match state.compared.take_if(|_| instruction.flow_control() != FlowControl::Next) {
            Some(Fact::Epoch) if instruction.condition_code() == equal => state.epoch = true,
            Some(Fact::Spare(spare)) if instruction.condition_code() == equal => state.spare = Some(spare),
            _ => {}
        }
        state
    }

    /// Rule 7.
    pub(crate) fn may_read(&self, instruction: &Instruction, info: &InstructionInfo) -> Result<(), String> {
        for used in info.used_registers() {
            let (register, partial) = (used.register().full_register(), used.register().size() < 4 && used.register().is_gpr());
            let matters = is_tracked(used.register()) && (reads(used.access()) || (partial && writes(used.access())));
            if matters && self.changed.contains(&register) && !self.values.contains_key(&(register as u32)) {
                return Err(format!("reads {register:?}, which an abort may have changed"));
            }
        }
        let known = instruction.rflags_read() & !self.flags == 0;
        if known { Ok(()) } else { Err("reads flags that were not set behind the restart address".to_owned()) }
    }

    /// The state after it; `inside` the section or before it.
    pub(crate) fn apply(&mut self, instruction: &Instruction, info: &InstructionInfo, inside: bool) {
        let result = self.result(instruction, inside);
        let through = instruction.memory_base();
        let bare = instruction.memory_index() == Register::None && instruction.memory_displacement64() == 0;
        let reads_memory = info.used_memory().iter().any(|used| reads(used.access()));
        if reads_memory && bare && self.value(through) == Value::Row {
            self.examined = Some(through);
        }
        self.taken |= self.takes(instruction);
        if instruction.flow_control() == FlowControl::Next {
            self.compared = self.comparison(instruction).filter(|_| inside);
        }
        for used in info.used_registers().iter().filter(|used| writes(used.access()) && is_tracked(used.register())) {
            let register = used.register().full_register();
            self.values.insert(register as u32, result);
            if self.examined == Some(register) {
                self.examined = None;
            }
            self.spare = self.spare.filter(|spare| spare.through != register);
        }
        self.flags |= instruction.rflags_modified() & !instruction.rflags_undefined();
    }

    /// What the instruction writes into its registers.
    fn result(&self, instruction: &Instruction, inside: bool) -> Value {
        let memory = (0..instruction.op_count()).find(|&at| instruction.op_kind(at) == OpKind::Memory);
        match instruction.mnemonic() {
            Mnemonic::Lea if instruction.is_ip_rel_memory_operand() => Value::Address(instruction.ip_rel_memory_address()),
            Mnemonic::Lea => self.address(instruction),
            Mnemonic::Mov if memory.is_some() => self.load(instruction, inside),
            Mnemonic::Mov if instruction.op1_kind() == OpKind::Register => self.copy(instruction.op1_register()),
            Mnemonic::Mov => Value::Other,
            Mnemonic::Movq if memory.is_none() => self.value(instruction.op1_register()),
            Mnemonic::Punpcklqdq if memory.is_none() => self.unpack(instruction),
            _ if instruction.op0_register().is_vector_register() => Value::Other,
            _ if instruction.flow_control() != FlowControl::Next => Value::Other,
            _ => self.mix(instruction),
        }
    }

    fn copy(&self, register: Register) -> Value {
        match self.spare {
            Some(spare) if spare.input == register => Value::Spare,
            _ => self.value(register),
        }
    }

    fn unpack(&self, instruction: &Instruction) -> Value {
        match (self.value(instruction.op0_register()), self.value(instruction.op1_register())) {
            (Value::SpareMoved(way), Value::Marked) => Value::Pair(way),
            _ => Value::Other,
        }
    }

    /// True if it reads the object below the top of the spare sheaf.
    fn takes(&self, instruction: &Instruction) -> bool {
        instruction.mnemonic() == Mnemonic::Mov
            && instruction.op1_kind() == OpKind::Memory
            && instruction.memory_displacement64() == 8_u64.wrapping_neg()
            && instruction.memory_size().size() == 8
            && self.top(instruction) == Some(Value::SpareTop)
    }

    /// The word that, added to the base of the table, makes the address of a memory operand, but for its displacement.
    pub(crate) fn top(&self, instruction: &Instruction) -> Option<Value> {
        let parts = (self.value(instruction.memory_base()), self.value(instruction.memory_index()));
        let plain = instruction.segment_prefix() == Register::None && instruction.memory_index_scale() == 1;
        match parts {
            (Value::Loaded, word) | (word, Value::Loaded) if plain => Some(word),
            _ => None,
        }
    }

    fn comparison(&self, instruction: &Instruction) -> Option<Fact> {
        let (through, input) = (instruction.memory_base(), instruction.op1_register());
        let shaped = instruction.mnemonic() == Mnemonic::Cmp
            && instruction.op0_kind() == OpKind::Memory
            && instruction.op1_kind() == OpKind::Register
            && instruction.segment_prefix() == Register::None
            && self.value(input) == Value::Input;
        let behind = instruction.memory_index() == Register::None && instruction.memory_displacement64() == 8;
        match (self.address(instruction), instruction.memory_size().size()) {
            (Value::Input, 4) if shaped => Some(Fact::Epoch),
            (Value::Row, 8) if shaped && behind => Some(Fact::Spare(Spare { through, input })),
            _ => None,
        }
    }

    fn load(&self, instruction: &Instruction, inside: bool) -> Value {
        if instruction.segment_prefix() == Register::FS {
            return if inside { Value::Row } else { Value::Other };
        }
        let bare = instruction.memory_index() == Register::None && instruction.memory_displacement64() == 0;
        match self.address(instruction) {
            Value::Row if bare && instruction.memory_size().size() == 8 => Value::Word,
            Value::Word | Value::Moved => Value::Link,
            Value::Input => Value::Loaded,
            _ => Value::Other,
        }
    }

    /// What the registers of a memory operand make together.
    fn address(&self, instruction: &Instruction) -> Value {
        let parts = [instruction.memory_base(), instruction.memory_index()];
        self.together(parts.into_iter().filter(|&part| part != Register::None))
    }

    /// What an operation on registers makes of them.
    fn mix(&self, instruction: &Instruction) -> Value {
        if let Some(value) = self.step(instruction) {
            return value;
        }
        let operands = (0..instruction.op_count()).filter(|&at| instruction.op_kind(at) == OpKind::Register);
        match self.together(operands.map(|at| instruction.op_register(at))) {
            Value::Word => Value::Moved,
            Value::Input => Value::Other,
            mixed => mixed,
        }
    }

    /// What an operation on eight bytes does to a word on its way into a pair.
    fn step(&self, instruction: &Instruction) -> Option<Value> {
        let by =
            (instruction.op1_kind() != OpKind::Register && instruction.op_count() == 2 && instruction.op1_kind() != OpKind::Memory)
                .then(|| instruction.immediate(1) as i64);
        let marks = || instruction.op1_kind() == OpKind::Register && self.value(instruction.op1_register()) == Value::Input;
        let whole = instruction.op0_register().size() == 8;
        match (self.value(instruction.op0_register()), instruction.mnemonic(), by) {
            (Value::Spare, Mnemonic::And, Some(-8)) if whole => Some(Value::SpareTop),
            (Value::SpareTop, Mnemonic::Add, Some(8)) if whole => Some(Value::SpareMoved(Way::Up)),
            (Value::SpareTop, Mnemonic::Sub, Some(8)) if whole => Some(Value::SpareMoved(Way::Down)),
            (Value::Word, Mnemonic::Or, None) if whole && marks() => Some(Value::Marked),
            _ => None,
        }
    }

    fn together(&self, registers: impl Iterator<Item = Register>) -> Value {
        let values: Vec<_> = registers.map(|register| self.value(register)).collect();
        let has = |value: Value| values.contains(&value);
        match () {
            () if has(Value::Row) => Value::Row,
            () if has(Value::Word) => Value::Word,
            () if has(Value::Moved) => Value::Moved,
            () if !values.is_empty() && values.iter().all(|&value| value == Value::Input) => Value::Input,
            () => Value::Other,
        }
    }

    /// What is known where two paths meet.
    #[must_use]
    pub(crate) fn join(mut self, other: &Self) -> Self {
        self.values.retain(|register, _| other.values.contains_key(register));
        for (register, value) in &mut self.values {
            if other.values[register] != *value {
                *value = Value::Other;
            }
        }
        self.flags &= other.flags;
        self.examined = self.examined.filter(|_| self.examined == other.examined);
        self.compared = self.compared.filter(|_| self.compared == other.compared);
        self.spare = self.spare.filter(|_| self.spare == other.spare);
        self.epoch &= other.epoch;
        self.taken &= other.taken;
        self
    }
}

fn is_tracked(register: Register) -> bool {
    register.is_gpr() || register.is_vector_register()
}
