package main

// expansion writes the key schedule of AES-256 (FIPS 197, section 5.2), on the
// AES instructions, so that no table is indexed by a secret.
func expansion(a *asm) {
	a.text("expandAsm", "key *Key, schedule *[rounds + 1][blockSize]byte", 16)
	a.op("MOVQ key+0(FP), SI")
	a.op("MOVQ schedule+8(FP), DI")
	a.op("VMOVDQU (SI), X0")   // the even round keys
	a.op("VMOVDQU 16(SI), X1") // the odd ones
	a.op("VMOVDQU X0, (DI)")
	a.op("VMOVDQU X1, 16(DI)")
	for r := 2; r <= rounds; r++ {
		// Even keys take RotWord, SubWord and the constant 2^(r/2-1): the top
		// word of what AESKEYGENASSIST gives. Odd keys take SubWord alone: the
		// third word.
		to, from, rcon, word := "X0", "X1", 1<<(r/2-1), 0xff
		if r%2 == 1 {
			to, from, rcon, word = "X1", "X0", 0, 0xaa
		}
		a.op("AESKEYGENASSIST $%d, %s, X2", rcon, from)
		a.op("VPSHUFD $%d, X2, X2", word)
		// Each word is the xor of all words up to it in the key two before.
		a.op("VPSLLDQ $4, %s, X3", to)
		a.op("VPXOR X3, %s, %s", to, to)
		a.op("VPSLLDQ $8, %s, X3", to)
		a.op("VPXOR X3, %s, %s", to, to)
		a.op("VPXOR X2, %s, %s", to, to)
		a.op("VMOVDQU %s, %d(DI)", to, 16*r)
	}
	for i := range 4 {
		a.op("VPXOR X%d, X%d, X%d", i, i, i)
	}
	a.op("RET")
}
