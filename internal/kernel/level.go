package kernel

// Level is an instruction-set level that the kernels are written for.
type Level uint8

const (
	Generic Level = iota // pure Go
	AVX2                 // AVX2 and FMA
	AVX512               // AVX-512 F, BW, DQ and VL
)

// String returns "generic", "avx2" or "avx512".
func (l Level) String() string {
	switch l {
	case Generic:
		return "generic"
	case AVX2:
		return "avx2"
	case AVX512:
		return "avx512"
	}
	return "invalid"
}

// current is the level in use. It changes only in Use.
var current = Best()

// Best returns the highest level that this machine runs.
func Best() Level { return detect() }

// Current returns the level in use: Best, unless Use forced another.
func Current() Level { return current }

// Levels returns the levels that this machine runs, Generic first.
func Levels() []Level {
	levels := make([]Level, 0, 3)
	for l := Generic; l <= Best(); l++ {
		levels = append(levels, l)
	}
	return levels
}

// Use forces a level, for tests and benchmarks, and returns a function that
// puts the former one back. It is not safe beside running kernels. It panics
// if the machine does not run l.
func Use(l Level) (restore func()) {
	if l > Best() {
		panic("kernel: level not supported by this machine")
	}
	former := current
	current = l
	return func() { current = former }
}
