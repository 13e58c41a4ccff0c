//! What a guest learns of the processor: which instructions of ring 3 it may use.
//!
//! A guest has no kernel, so it needs no more, and the rest of CPUID would only tell it about the host. The list is fixed
//! here instead of taken from `KVM_GET_SUPPORTED_CPUID`, which describes everything that an operating system could use
//! and takes as long as making a VM. What is in the list needs no support by KVM but for the registers that XSAVE keeps.
//!
//! Leaves and bits: Intel SDM volume 2, CPUID; AMD64 APM volume 3, appendix E.

use std::arch::x86_64::{__cpuid_count, CpuidResult};

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

use super::Error;

/// x87, SSE, AVX, and the three AVX-512 components (Intel SDM volume 1, 13.3).
const XCR0_WANTED: u32 = 0xe7;

const fn bits(list: &[u32]) -> u32 {
    let (mut mask, mut next) = (0, 0);
    while next < list.len() {
        mask |= 1 << list[next];
        next += 1;
    }
    mask
}

/// A leaf, and which bits of EAX, EBX, ECX and EDX a guest sees.
struct Leaf {
    function: u32,
    index: u32,
    indexed: bool,
    visible: [u32; 4],
}

const fn leaf(function: u32, visible: [u32; 4]) -> Leaf {
    Leaf { function, index: 0, indexed: false, visible }
}

const fn subleaf(function: u32, index: u32, visible: [u32; 4]) -> Leaf {
    Leaf { function, index, indexed: true, visible }
}

const ALL: u32 = u32::MAX;

const LEAVES: [Leaf; 9] = [
    // Highest leaf, vendor.
    leaf(0, [ALL, ALL, ALL, ALL]),
    leaf(
        1,
        [
            // Family, model, stepping: cryptographic libraries choose code by them.
            ALL,
            // Size of a cache line; not the APIC's number.
            0xff00,
            // SSE3 PCLMULQDQ SSSE3 FMA CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE OSXSAVE AVX F16C RDRAND
            bits(&[0, 1, 9, 12, 13, 19, 20, 22, 23, 25, 26, 27, 28, 29, 30]),
            // FPU PSE TSC MSR PAE CX8 CMOV CLFSH MMX FXSR SSE SSE2
            bits(&[0, 3, 4, 5, 6, 8, 15, 19, 23, 24, 25, 26]),
        ],
    ),
    subleaf(
        7,
        0,
        [
            // Highest subleaf.
            ALL,
            // FSGSBASE BMI1 AVX2 BMI2 ERMS AVX512F AVX512DQ RDSEED ADX AVX512_IFMA CLFLUSHOPT CLWB AVX512CD SHA AVX512BW
            // AVX512VL
            bits(&[0, 3, 5, 8, 9, 16, 17, 18, 19, 21, 23, 24, 28, 29, 30, 31]),
            // AVX512_VBMI AVX512_VBMI2 GFNI VAES VPCLMULQDQ AVX512_VNNI AVX512_BITALG AVX512_VPOPCNTDQ
            bits(&[1, 6, 8, 9, 10, 11, 12, 14]),
            // FSRM
            bits(&[4]),
        ],
    ),
    // SHA512 SM3 SM4 AVX_VNNI AVX512_BF16 AVX_IFMA
    subleaf(7, 1, [bits(&[0, 1, 2, 4, 5, 23]), 0, 0, 0]),
    // XSAVE: which components there are, how large they are; XSAVEOPT XSAVEC XGETBV1.
    subleaf(0xd, 0, [XCR0_WANTED, ALL, ALL, 0]),
    subleaf(0xd, 1, [bits(&[0, 1, 2]), 0, 0, 0]),
    leaf(0x8000_0000, [ALL, ALL, ALL, ALL]),
    // LAHF LZCNT SSE4A PREFETCHW; NX, long mode.
    leaf(0x8000_0001, [0, 0, bits(&[0, 5, 6, 8]), bits(&[20, 29])]),
    // Widths of addresses.
    leaf(0x8000_0008, [0xffff, 0, 0, 0]),
];

/// The highest leaves of each range that the list has something to say about.
const HIGHEST: u32 = 0xd;
const HIGHEST_EXTENDED: u32 = 0x8000_0008;

/// The entries for `KVM_SET_CPUID2`.
pub fn of_guests() -> Result<CpuId, Error> {
    let entries: Vec<kvm_cpuid_entry2> = LEAVES.iter().map(entry).collect();
    CpuId::from_entries(&entries).map_err(|_| Error::Processor("list of features"))
}

/// What of XCR0 a guest has: what its XSAVE leaf says.
pub fn xcr0() -> u64 {
    u64::from(__cpuid_count(0xd, 0).eax & XCR0_WANTED | 1)
}

fn entry(leaf: &Leaf) -> kvm_cpuid_entry2 {
    let CpuidResult { mut eax, ebx, ecx, edx } = __cpuid_count(leaf.function, leaf.index);
    match leaf.function {
        0 => eax = eax.min(HIGHEST),
        0x8000_0000 => eax = eax.min(HIGHEST_EXTENDED),
        7 if leaf.index == 0 => eax = eax.min(1),
        _ => {}
    }
    let [in_eax, in_ebx, in_ecx, in_edx] = leaf.visible;
    kvm_cpuid_entry2 {
        function: leaf.function,
        index: leaf.index,
        flags: if leaf.indexed { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } else { 0 },
        eax: eax & in_eax,
        ebx: ebx & in_ebx,
        ecx: ecx & in_ecx,
        edx: edx & in_edx,
        ..Default::default()
    }
}
