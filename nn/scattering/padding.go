package scattering

// padded returns the length of a side of n pixels with its padding.
func padded(n, j int) int { return (n>>j + 2) << j }

// reflection returns, for each padded position, the pixel that stands there:
// half of the padding (rounded down) lies before the image, and pixels are
// mirrored at the border pixels, which are not repeated.
func reflection(n, j int) []int {
	p := padded(n, j)
	at := make([]int, p)
	before := (p - n) / 2
	period := 2 * (n - 1)
	for i := range at {
		k := ((i-before)%period + period) % period
		at[i] = min(k, period-k)
	}
	return at
}
