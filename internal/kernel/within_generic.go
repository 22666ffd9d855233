package kernel

func countWithinGeneric(votes []int32, x, least, most []float32) (outside int) {
	least, most, votes = least[:len(x)], most[:len(x)], votes[:len(x)]
	for j, v := range x {
		if v < least[j] || v > most[j] {
			outside++
		} else {
			votes[j]++
		}
	}
	return outside
}

func sumWithinGeneric(shares []int64, x, least, most []float32) (sum int64) {
	least, most, shares = least[:len(x)], most[:len(x)], shares[:len(x)]
	for j, v := range x {
		if !(v < least[j] || v > most[j]) {
			sum += shares[j]
		}
	}
	return sum
}
