package kernel

// CountWithin adds one to votes[j] wherever x[j] is neither below least[j] nor above
// most[j], and returns in how many places it is not so. A NaN is below and above nothing.
//
// It panics if the lengths differ.
func CountWithin(votes []int32, x, least, most []float32) (outside int) {
	checkLen(len(votes) == len(x) && len(least) == len(x) && len(most) == len(x))
	for len(x) > 0 {
		n := min(len(x), callLen)
		outside += countWithin(votes[:n], x[:n], least[:n], most[:n])
		votes, x, least, most = votes[n:], x[n:], least[n:], most[n:]
	}
	return outside
}

// SumWithin is the sum of shares[j] over those places modulo 2^64, the same on every level.
//
// It panics if the lengths differ.
func SumWithin(shares []int64, x, least, most []float32) (sum int64) {
	checkLen(len(shares) == len(x) && len(least) == len(x) && len(most) == len(x))
	for len(x) > 0 {
		n := min(len(x), callLen)
		sum += sumWithin(shares[:n], x[:n], least[:n], most[:n])
		shares, x, least, most = shares[n:], x[n:], least[n:], most[n:]
	}
	return sum
}
