package kernel

func addWordsGeneric(y []uint32, words []uint64) {
	for i, w := range words[:len(y)/2] {
		p := y[2*i : 2*i+2 : 2*i+2]
		p[0] += uint32(w)
		p[1] += uint32(w >> 32)
	}
	if n := len(y); n%2 == 1 {
		y[n-1] += uint32(words[n/2])
	}
}

func subWordsGeneric(y []uint32, words []uint64) {
	for i, w := range words[:len(y)/2] {
		p := y[2*i : 2*i+2 : 2*i+2]
		p[0] -= uint32(w)
		p[1] -= uint32(w >> 32)
	}
	if n := len(y); n%2 == 1 {
		y[n-1] -= uint32(words[n/2])
	}
}
