package kernel

// AddWords adds a keystream to y modulo 2^32: y[2i] the low half of words[i], y[2i+1] the
// high one. It panics unless words has as many elements as y has pairs, the last of which
// may lack its second.
func AddWords(y []uint32, words []uint64) { eachWords(y, words, addWords) }

// SubWords subtracts what AddWords adds.
func SubWords(y []uint32, words []uint64) { eachWords(y, words, subWords) }

func eachWords(y []uint32, words []uint64, f func(Level, []uint32, []uint64)) {
	checkLen(len(words) == (len(y)+1)/2)
	level := streamLevel(len(y))
	for len(y) > 0 {
		n := min(len(y), callLen)
		f(level, y[:n], words[:(n+1)/2])
		y, words = y[n:], words[(n+1)/2:]
	}
}
