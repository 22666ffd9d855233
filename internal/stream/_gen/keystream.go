package main

import "fmt"

// swap reverses the bytes of each half of a register: counters are big-endian.
var swap = []uint64{0x0001020304050607, 0x08090a0b0c0d0e0f}

const signature = "schedule *[rounds + 1][blockSize]byte, dst *byte, n int, id, block uint64"

func arguments(a *asm) {
	a.op("MOVQ schedule+0(FP), SI")
	a.op("MOVQ dst+8(FP), DI")
	a.op("MOVQ n+16(FP), CX")
}

// aesni writes n >= 1 blocks, eight at a time in XMM registers, the rest one by
// one. Round keys are read as they are needed.
func aesni(a *asm) {
	const wide, key, shuffle, counter, one = 8, "X8", "X9", "X10", "X11"
	a.data("swap", swap...)
	a.data("one", 0, 1)
	a.data("lanes", 0, 0, 0, 1, 0, 2, 0, 3)
	a.text("aesniBlocks", signature, 40)
	arguments(a)
	a.op("VMOVDQU swap<>(SB), %s", shuffle)
	a.op("VMOVDQU one<>(SB), %s", one)
	a.op("VMOVDQU id+24(FP), %s", counter)
	encrypt := func(blocks int) {
		a.op("VMOVDQU (SI), %s", key)
		for i := range blocks {
			a.op("VPSHUFB %s, %s, X%d", shuffle, counter, i)
			a.op("VPADDQ %s, %s, %s", one, counter, counter)
			a.op("VPXOR %s, X%d, X%d", key, i, i)
		}
		for r := 1; r <= rounds; r++ {
			op := "VAESENC"
			if r == rounds {
				op = "VAESENCLAST"
			}
			a.op("VMOVDQU %d(SI), %s", 16*r, key)
			for i := range blocks {
				a.op("%s %s, X%d, X%d", op, key, i, i)
			}
		}
		for i := range blocks {
			a.op("VMOVDQU X%d, %d(DI)", i, 16*i)
		}
		a.op("ADDQ $%d, DI", 16*blocks)
		a.op("SUBQ $%d, CX", blocks)
	}
	a.op("SUBQ $%d, CX", wide)
	a.op("JL few")
	a.label("eight")
	encrypt(wide)
	a.op("JGE eight")
	a.label("few")
	a.op("ADDQ $%d, CX", wide)
	a.op("JZ done")
	a.label("single")
	encrypt(1)
	a.op("JNZ single")
	a.label("done")
	a.op("VZEROALL")
	a.op("RET")
}

// vaes256 writes n >= 1 blocks, 16 at a time in eight YMM registers, the rest two
// at a time, the last in half a register. Round keys are read as they are
// needed. All is encoded for machines without AVX-512.
func vaes256(a *asm) {
	const wide, key, shuffle, counter, step = 8, "Y8", "Y9", "Y10", "Y11"
	a.data("two", 0, 2)
	a.text("vaes256Blocks", signature, 40)
	arguments(a)
	a.op("VBROADCASTI128 swap<>(SB), %s", shuffle)
	a.op("VBROADCASTI128 two<>(SB), %s", step)
	a.op("VBROADCASTI128 id+24(FP), %s", counter)
	a.op("VPADDQ lanes<>(SB), %s, %s", counter, counter)
	encrypt := func(registers int) {
		a.op("VBROADCASTI128 (SI), %s", key)
		for i := range registers {
			a.op("VPSHUFB %s, %s, Y%d", shuffle, counter, i)
			a.op("VPADDQ %s, %s, %s", step, counter, counter)
			a.op("VPXOR %s, Y%d, Y%d", key, i, i)
		}
		for r := 1; r <= rounds; r++ {
			op := "VAESENC"
			if r == rounds {
				op = "VAESENCLAST"
			}
			a.op("VBROADCASTI128 %d(SI), %s", 16*r, key)
			for i := range registers {
				a.op("%s %s, Y%d, Y%d", op, key, i, i)
			}
		}
	}
	for _, registers := range []int{wide, 1} {
		loop, next := fmt.Sprintf("by%d", 2*registers), fmt.Sprintf("below%d", 2*registers)
		a.op("SUBQ $%d, CX", 2*registers)
		a.op("JL %s", next)
		a.label(loop)
		encrypt(registers)
		for i := range registers {
			a.op("VMOVDQU Y%d, %d(DI)", i, 32*i)
		}
		a.op("ADDQ $%d, DI", 32*registers)
		a.op("SUBQ $%d, CX", 2*registers)
		a.op("JGE %s", loop)
		a.label(next)
		a.op("ADDQ $%d, CX", 2*registers)
	}
	a.op("JZ done")
	encrypt(1)
	a.op("VMOVDQU X0, (DI)")
	a.label("done")
	a.op("VZEROALL")
	a.op("RET")
}

// detection writes the bit that golang.org/x/sys/cpu does not give: VAES without
// AVX-512, leaf 7 of CPUID, bit 9 of ECX. AVX2 says that there is a leaf 7.
func detection(a *asm) {
	a.text("hasVAES", "", 1)
	a.op("MOVL $7, AX")
	a.op("XORL CX, CX")
	a.op("CPUID")
	a.op("SHRL $9, CX")
	a.op("ANDL $1, CX")
	a.op("MOVB CX, ret+0(FP)")
	a.op("RET")
}

// vaes512 writes n >= 1 blocks, 32 at a time in eight ZMM registers with the round
// keys in fifteen more, the rest four at a time, the last few under a mask.
func vaes512(a *asm) {
	const wide, shuffle, step, counter = 8, "Z15", "Z24", "Z25"
	a.data("four", 0, 4)
	a.text("vaes512Blocks", signature, 40)
	arguments(a)
	for r := range rounds + 1 {
		a.op("VBROADCASTI32X4 %d(SI), Z%d", 16*r, r)
	}
	a.op("VBROADCASTI32X4 swap<>(SB), %s", shuffle)
	a.op("VBROADCASTI32X4 four<>(SB), %s", step)
	a.op("VBROADCASTI32X4 id+24(FP), %s", counter)
	a.op("VPADDQ lanes<>(SB), %s, %s", counter, counter)
	encrypt := func(registers int) {
		for i := range registers {
			a.op("VPSHUFB %s, %s, Z%d", shuffle, counter, 16+i)
			a.op("VPADDQ %s, %s, %s", step, counter, counter)
			a.op("VPXORQ Z0, Z%d, Z%d", 16+i, 16+i)
		}
		for r := 1; r <= rounds; r++ {
			op := "VAESENC"
			if r == rounds {
				op = "VAESENCLAST"
			}
			for i := range registers {
				a.op("%s Z%d, Z%d, Z%d", op, r, 16+i, 16+i)
			}
		}
	}
	store := func(registers int) {
		for i := range registers {
			a.op("VMOVDQU64 Z%d, %d(DI)", 16+i, 64*i)
		}
		a.op("ADDQ $%d, DI", 64*registers)
		a.op("SUBQ $%d, CX", 4*registers)
	}
	for _, registers := range []int{wide, 1} {
		loop, next := fmt.Sprintf("by%d", 4*registers), fmt.Sprintf("below%d", 4*registers)
		a.op("SUBQ $%d, CX", 4*registers)
		a.op("JL %s", next)
		a.label(loop)
		encrypt(registers)
		store(registers)
		a.op("JGE %s", loop)
		a.label(next)
		a.op("ADDQ $%d, CX", 4*registers)
	}
	a.op("JZ done")
	// The lowest 2n words.
	encrypt(1)
	a.op("ADDQ CX, CX")
	a.op("MOVL $1, AX")
	a.op("SHLL CX, AX")
	a.op("DECL AX")
	a.op("KMOVW AX, K1")
	a.op("VMOVDQU64 Z16, K1, (DI)")
	a.label("done")
	for i := 16; i < 24; i++ {
		a.op("VPXORQ Z%d, Z%d, Z%d", i, i, i)
	}
	a.op("VZEROALL")
	a.op("RET")
}
