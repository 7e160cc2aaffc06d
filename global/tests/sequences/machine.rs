//! An interpreter for the few instructions that the sequences, and the functions around them, are made of.

use super::image::{Image, SIGNATURE, text};
use super::memory::Memory;
use iced_x86::{ConditionCode, Instruction, Mnemonic, OpKind, Register};

/// Where a call from outside returns to.
const RETURN: u64 = 0xFFFF_FFFF_FFFF_0000;
/// No function here is that long.
const STEPS: usize = 100_000;

#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    carry: bool,
    zero: bool,
    sign: bool,
    overflow: bool,
}

/// An instruction that was met before.
#[derive(Clone, Copy)]
struct Known {
    instruction: Instruction,
    /// Whether the kernel would abort a section here.
    is_inside: bool,
}

/// A thread.
pub(crate) struct Machine<'a> {
    image: &'a Image,
    known: Vec<Known>,
    /// For each byte of code from `first` on, which of those begins there: the number after it, or 0.
    begins: Vec<u32>,
    first: u64,
    /// Where sections begin and end, in order; they do not overlap.
    sections: Vec<(u64, u64)>,
    registers: [u64; 16],
    vectors: [u128; 16],
    flags: Flags,
    ip: u64,
    pub(crate) memory: Memory,
    /// Addresses at which a section was aborted.
    pub(crate) aborted: Vec<u64>,
    /// Instructions done.
    pub(crate) steps: usize,
}

impl<'a> Machine<'a> {
    pub(crate) fn new(image: &'a Image, memory: Memory) -> Self {
        let first = image.code.iter().map(|(first, _)| *first).min().unwrap_or(0);
        let end = image.code.iter().map(|(first, bytes)| first + bytes.len() as u64).max().unwrap_or(0);
        let mut sections: Vec<_> = image.descriptors.iter().map(|found| (found.start, found.end())).collect();
        sections.sort_unstable();
        Self {
            image,
            known: Vec::new(),
            begins: vec![0; (end - first) as usize],
            first,
            sections,
            registers: [0; 16],
            vectors: [0; 16],
            flags: Flags::default(),
            ip: RETURN,
            memory,
            aborted: Vec::new(),
            steps: 0,
        }
    }

    /// Calls a function of the C ABI on the stack that ends at `stack`. Before each instruction it asks `before`, with the number
    /// of those done.
    pub(crate) fn call(
        &mut self,
        function: u64,
        arguments: &[u64],
        stack: u64,
        mut before: impl FnMut(&mut Self, usize),
    ) -> Result<u64, String> {
        // What a function may not rely on is garbage.
        self.registers = [0xDEAD_BEEF_DEAD_BEEF; 16];
        let places = [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];
        for (place, argument) in places.into_iter().zip(arguments) {
            self.registers[place.number()] = *argument;
        }
        self.registers[Register::RSP.number()] = stack;
        self.push(RETURN)?;
        self.ip = function;
        for step in 0..STEPS {
            before(self, step);
            if self.ip == RETURN {
                return Ok(self.registers[Register::RAX.number()]);
            }
            self.step()?;
        }
        Err(format!("does not return, and is at {:#x}", self.ip))
    }

    pub(crate) fn has_returned(&self) -> bool {
        self.ip == RETURN
    }

    /// True if the kernel would abort a section now.
    pub(crate) fn is_inside(&mut self) -> bool {
        self.fetch().is_some_and(|known| known.is_inside)
    }

    pub(crate) fn was_inside(&self, address: u64) -> bool {
        let later = self.sections.partition_point(|&(start, _)| start <= address);
        later > 0 && address < self.sections[later - 1].1
    }

    /// True for an instruction that is atomic for all.
    pub(crate) fn is_locked(&self, address: u64) -> bool {
        self.image.instruction(address).is_some_and(|instruction| instruction.has_lock_prefix())
    }

    /// What the kernel does when the thread has been preempted, or gets a signal.
    pub(crate) fn interrupt(&mut self) -> Result<(), String> {
        let armed = self.memory.take_armed();
        let inside = self.image.descriptors.iter().find(|descriptor| descriptor.covers(self.ip));
        if armed == 0 {
            return inside.map_or(Ok(()), |_| Err(format!("a section runs unarmed at {:#x}", self.ip)));
        }
        let known = self.image.descriptors.iter().find(|descriptor| descriptor.at == armed);
        let armed = known.ok_or_else(|| format!("{armed:#x} is armed, and no descriptor"))?;
        if armed.covers(self.ip) {
            if self.image.signature(armed.abort) != Some(SIGNATURE) {
                return Err("the kernel kills the process: no signature".to_owned());
            }
            self.aborted.push(self.ip);
            self.ip = armed.abort;
        } else if inside.is_some() {
            return Err(format!("another section is armed than runs at {:#x}", self.ip));
        }
        Ok(())
    }

    /// The instruction to come. There are millions, of some hundred different ones.
    fn fetch(&mut self) -> Option<Known> {
        let at = self.ip.wrapping_sub(self.first) as usize;
        match *self.begins.get(at)? {
            0 => {
                let known = Known { instruction: self.image.instruction(self.ip)?, is_inside: self.was_inside(self.ip) };
                self.known.push(known);
                self.begins[at] = self.known.len() as u32;
                Some(known)
            }
            number => Some(self.known[number as usize - 1]),
        }
    }

    fn step(&mut self) -> Result<(), String> {
        let Known { instruction, .. } = self.fetch().ok_or_else(|| format!("no instruction at {:#x}", self.ip))?;
        self.ip = instruction.next_ip();
        self.steps += 1;
        self.execute(&instruction).map_err(|what| format!("{what}: {}", text(&instruction)))
    }

    fn execute(&mut self, instruction: &Instruction) -> Result<(), String> {
        let size = self.size(instruction, 0);
        match instruction.mnemonic() {
            Mnemonic::Nop | Mnemonic::Endbr64 => Ok(()),
            Mnemonic::Movaps | Mnemonic::Movdqa if self.is_unaligned(instruction)? => Err("is not aligned".to_owned()),
            Mnemonic::Mov | Mnemonic::Movzx | Mnemonic::Movups | Mnemonic::Movdqu | Mnemonic::Movaps | Mnemonic::Movdqa => {
                let value = self.read(instruction, 1)?;
                self.write(instruction, 0, value)
            }
            Mnemonic::Movsx | Mnemonic::Movsxd => {
                let value = extend(self.read(instruction, 1)? as u64, self.size(instruction, 1));
                self.write(instruction, 0, value.into())
            }
            Mnemonic::Lea => {
                let address = self.address(instruction)?;
                self.write(instruction, 0, address.into())
            }
            Mnemonic::Xorps => {
                let value = self.read(instruction, 0)? ^ self.read(instruction, 1)?;
                self.write(instruction, 0, value)
            }
            // Between a vector and a word: the rest of the vector is cleared.
            Mnemonic::Movq => {
                let value = self.read(instruction, 1)? as u64;
                self.write(instruction, 0, value.into())
            }
            Mnemonic::Punpcklqdq => {
                let (low, high) = (self.read(instruction, 0)? as u64, self.read(instruction, 1)? << 64);
                self.write(instruction, 0, high | u128::from(low))
            }
            Mnemonic::Xadd => {
                let (a, b) = (self.read(instruction, 0)? as u64, self.read(instruction, 1)? as u64);
                let sum = self.arithmetic(Mnemonic::Add, a, b, size);
                self.write(instruction, 1, a.into())?;
                self.write(instruction, 0, sum.into())
            }
            Mnemonic::Imul if instruction.op_count() > 1 => {
                let factor = instruction.op_count() - 2;
                let product = (self.read(instruction, factor)? as u64).wrapping_mul(self.read(instruction, factor + 1)? as u64);
                // Nobody here asks whether it fits.
                self.write(instruction, 0, product.into())
            }
            Mnemonic::Inc | Mnemonic::Dec => {
                let (value, carry) = (self.read(instruction, 0)? as u64, self.flags.carry);
                let operation = if instruction.mnemonic() == Mnemonic::Inc { Mnemonic::Add } else { Mnemonic::Sub };
                let result = self.arithmetic(operation, value, 1, size);
                self.flags.carry = carry;
                self.write(instruction, 0, result.into())
            }
            Mnemonic::Not => {
                let value = self.read(instruction, 0)? as u64;
                self.write(instruction, 0, (!value).into())
            }
            Mnemonic::Neg => {
                let value = self.read(instruction, 0)? as u64;
                let result = self.arithmetic(Mnemonic::Sub, 0, value, size);
                self.write(instruction, 0, result.into())
            }
            Mnemonic::Add | Mnemonic::Sub | Mnemonic::Cmp | Mnemonic::And | Mnemonic::Or | Mnemonic::Xor | Mnemonic::Test => {
                let (a, b) = (self.read(instruction, 0)? as u64, self.read(instruction, 1)? as u64);
                let result = self.arithmetic(instruction.mnemonic(), a, b, size);
                let discards = matches!(instruction.mnemonic(), Mnemonic::Cmp | Mnemonic::Test);
                if discards { Ok(()) } else { self.write(instruction, 0, result.into()) }
            }
            Mnemonic::Shl | Mnemonic::Shr => {
                let (a, by) =
                    (self.read(instruction, 0)? as u64, self.read(instruction, 1)? as u32 & (size as u32 * 8 - 1).max(31));
                let result = if instruction.mnemonic() == Mnemonic::Shl { a << by } else { a >> by };
                // The flags of a shift are asked by nobody here but for zero and sign.
                self.arithmetic(Mnemonic::Test, result, result, size);
                self.write(instruction, 0, result.into())
            }
            Mnemonic::Div if size >= 4 => self.divide(self.read(instruction, 0)?, size),
            Mnemonic::Mul if size == 8 => {
                let product = self.read(instruction, 0)? * u128::from(self.registers[Register::RAX.number()]);
                let high = (product >> 64) as u64;
                self.registers[Register::RAX.number()] = product as u64;
                self.registers[Register::RDX.number()] = high;
                self.flags = Flags { carry: high != 0, overflow: high != 0, ..self.flags };
                Ok(())
            }
            Mnemonic::Push => {
                let value = self.read(instruction, 0)? as u64;
                self.push(value)
            }
            Mnemonic::Pop => {
                let value = self.pop()?;
                self.write(instruction, 0, value.into())
            }
            Mnemonic::Call => {
                let target = self.target(instruction)?;
                self.push(instruction.next_ip())?;
                self.ip = target;
                Ok(())
            }
            Mnemonic::Ret => {
                self.ip = self.pop()?;
                Ok(())
            }
            Mnemonic::Jmp => {
                self.ip = self.target(instruction)?;
                Ok(())
            }
            _ => self.execute_condition(instruction),
        }
    }

    fn divide(&mut self, by: u128, size: usize) -> Result<(), String> {
        let half = |register: Register| u128::from(cut(self.registers[register.number()], size));
        let whole = half(Register::RDX) << (size * 8) | half(Register::RAX);
        let fits = |quotient: &u128| quotient >> (size * 8) == 0;
        let quotient = whole.checked_div(by).filter(fits).ok_or("does not divide")?;
        self.registers[Register::RAX.number()] = quotient as u64;
        self.registers[Register::RDX.number()] = (whole % by) as u64;
        Ok(())
    }

    fn execute_condition(&mut self, instruction: &Instruction) -> Result<(), String> {
        let holds = self.condition(instruction.condition_code());
        match () {
            () if instruction.is_jcc_short_or_near() => {
                if holds? {
                    self.ip = instruction.near_branch_target();
                }
                Ok(())
            }
            // A `setcc`.
            () if instruction.op_count() == 1 => self.write(instruction, 0, holds?.into()),
            // A `cmovcc`.
            () if instruction.op_count() == 2 => {
                // Without the condition, it still clears the upper half of a register of 32 bits.
                let value = self.read(instruction, u32::from(holds?))?;
                self.write(instruction, 0, value)
            }
            () => Err("is not known to the interpreter".to_owned()),
        }
    }

    fn condition(&self, code: ConditionCode) -> Result<bool, String> {
        let Flags { carry, zero, sign, overflow } = self.flags;
        Ok(match code {
            ConditionCode::o => overflow,
            ConditionCode::no => !overflow,
            ConditionCode::b => carry,
            ConditionCode::ae => !carry,
            ConditionCode::e => zero,
            ConditionCode::ne => !zero,
            ConditionCode::be => carry || zero,
            ConditionCode::a => !(carry || zero),
            ConditionCode::s => sign,
            ConditionCode::ns => !sign,
            ConditionCode::l => sign != overflow,
            ConditionCode::ge => sign == overflow,
            ConditionCode::le => zero || sign != overflow,
            ConditionCode::g => !zero && sign == overflow,
            _ => return Err("is not known to the interpreter".to_owned()),
        })
    }

    /// Computes and sets the flags.
    fn arithmetic(&mut self, operation: Mnemonic, a: u64, b: u64, size: usize) -> u64 {
        let (a, b, top) = (cut(a, size), cut(b, size), size * 8 - 1);
        let (result, carry, overflow) = match operation {
            Mnemonic::Add => {
                let result = cut(a.wrapping_add(b), size);
                (result, result < a, ((a ^ result) & (b ^ result)) >> top & 1 != 0)
            }
            Mnemonic::Sub | Mnemonic::Cmp => {
                let result = cut(a.wrapping_sub(b), size);
                (result, a < b, ((a ^ b) & (a ^ result)) >> top & 1 != 0)
            }
            Mnemonic::Or => (a | b, false, false),
            Mnemonic::Xor => (a ^ b, false, false),
            _ => (a & b, false, false),
        };
        self.flags = Flags { carry, overflow, zero: result == 0, sign: result >> top & 1 != 0 };
        result
    }

    fn push(&mut self, value: u64) -> Result<(), String> {
        let top = self.registers[Register::RSP.number()] - 8;
        self.registers[Register::RSP.number()] = top;
        self.memory.store(self.ip, top, 8, value.into())
    }

    fn pop(&mut self) -> Result<u64, String> {
        let top = self.registers[Register::RSP.number()];
        self.registers[Register::RSP.number()] = top + 8;
        Ok(self.memory.load(top, 8)? as u64)
    }

    fn target(&self, instruction: &Instruction) -> Result<u64, String> {
        match instruction.op0_kind() {
            OpKind::NearBranch64 => Ok(instruction.near_branch_target()),
            _ => Ok(self.read(instruction, 0)? as u64),
        }
    }

    fn size(&self, instruction: &Instruction, operand: u32) -> usize {
        match instruction.op_kind(operand) {
            OpKind::Register => instruction.op_register(operand).size(),
            OpKind::Memory => instruction.memory_size().size(),
            _ => 8,
        }
    }

    /// Address of the memory operand, without its segment.
    fn address(&self, instruction: &Instruction) -> Result<u64, String> {
        if instruction.is_ip_rel_memory_operand() {
            return Ok(instruction.ip_rel_memory_address());
        }
        let part = |register: Register| match register {
            Register::None => Ok(0),
            _ => self.register(register).map(|value| value as u64),
        };
        let index = part(instruction.memory_index())?.wrapping_mul(instruction.memory_index_scale().into());
        Ok(part(instruction.memory_base())?.wrapping_add(index).wrapping_add(instruction.memory_displacement64()))
    }

    /// True if there is a memory operand of sixteen bytes that does not lie as it must.
    fn is_unaligned(&self, instruction: &Instruction) -> Result<bool, String> {
        let memory = (0..instruction.op_count()).any(|at| instruction.op_kind(at) == OpKind::Memory);
        Ok(memory && !self.address(instruction)?.is_multiple_of(16))
    }

    fn register(&self, register: Register) -> Result<u128, String> {
        match register {
            Register::AH | Register::BH | Register::CH | Register::DH => {
                Err("uses a register unknown to the interpreter".to_owned())
            }
            _ if register.is_gpr() => Ok(cut(self.registers[register.full_register().number()], register.size()).into()),
            _ if register.is_xmm() => Ok(self.vectors[register.number()]),
            _ => Err("uses a register unknown to the interpreter".to_owned()),
        }
    }

    fn read(&self, instruction: &Instruction, operand: u32) -> Result<u128, String> {
        let size = self.size(instruction, operand);
        match instruction.op_kind(operand) {
            OpKind::Register => self.register(instruction.op_register(operand)),
            OpKind::Memory if instruction.memory_segment() == Register::FS => {
                self.memory.load_local(self.address(instruction)?, size)
            }
            OpKind::Memory => self.memory.load(self.address(instruction)?, size),
            kind if (OpKind::Immediate8..=OpKind::Immediate32to64).contains(&kind) => Ok(instruction.immediate(operand).into()),
            _ => Err("has an operand unknown to the interpreter".to_owned()),
        }
    }

    fn write(&mut self, instruction: &Instruction, operand: u32, value: u128) -> Result<(), String> {
        let size = self.size(instruction, operand);
        if instruction.op_kind(operand) == OpKind::Memory {
            let at = self.address(instruction)?;
            return match instruction.memory_segment() {
                Register::FS => self.memory.store_local(at, size, value),
                _ => self.memory.store(instruction.ip(), at, size, value),
            };
        }
        let register = instruction.op_register(operand);
        // Also finds out whether it is known.
        self.register(register)?;
        if register.is_xmm() {
            self.vectors[register.number()] = value;
            return Ok(());
        }
        let old = &mut self.registers[register.full_register().number()];
        *old = if size >= 4 { cut(value as u64, size) } else { (*old ^ cut(*old, size)) | cut(value as u64, size) };
        Ok(())
    }
}

fn cut(value: u64, size: usize) -> u64 {
    if size >= 8 { value } else { value & ((1 << (size * 8)) - 1) }
}

fn extend(value: u64, size: usize) -> u64 {
    let unused = 64 - size * 8;
    ((value << unused) as i64 >> unused) as u64
}
