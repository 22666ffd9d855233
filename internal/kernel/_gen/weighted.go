package main

func init() {
	register("weighted", writeFor(weightedSum))
}

// weightedSum keeps a tile of 128 sums in sixteen registers and goes over the columns
// once. AVX2 has no product of 64-bit integers, so AVX-512 alone is written.
func weightedSum(f *vectorFile, v vec) {
	if v.bits != 512 {
		return
	}
	const tile = 16
	f.raw("\n// func %s(sum *int64, x *[]uint64, offset int, col *int32, w *int64, n int)\n", v.name("weightedSum"))
	f.raw("TEXT ·%s(SB), NOSPLIT, $0-48\n", v.name("weightedSum"))
	for i, name := range []string{"sum", "x", "offset", "col", "w", "n"} {
		f.op("MOVQ %s+%d(FP), %s", name, 8*i, []string{"DI", "SI", "DX", "R8", "R9", "CX"}[i])
	}
	for i := range tile {
		f.op("VMOVDQU64 %d(DI), Z%d", 64*i, i)
	}
	f.op("PCALIGN $32")
	f.raw("column:\n")
	f.op("MOVLQSX (R8), AX")
	f.op("LEAQ (AX)(AX*2), AX") // slice headers of three words
	f.op("MOVQ (SI)(AX*8), BX")
	f.op("LEAQ (BX)(DX*8), BX")
	f.op("VPBROADCASTQ (R9), Z16")
	for i := range tile {
		f.op("VPMULLQ %d(BX), Z16, Z%d", 64*i, 17+i%15)
		f.op("VPADDQ Z%d, Z%d, Z%d", 17+i%15, i, i)
	}
	f.op("ADDQ $4, R8")
	f.op("ADDQ $8, R9")
	f.op("DECQ CX")
	f.op("JNE column")
	for i := range tile {
		f.op("VMOVDQU64 Z%d, %d(DI)", i, 64*i)
	}
	f.op("VZEROUPPER")
	f.op("RET")
}
