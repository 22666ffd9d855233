package main

import (
	"math"
	"math/rand/v2"
	"runtime"
	"sync"

	"github.com/sotto-ml/sotto/internal/mnist"
)

// strokes returns n random pen drawings, made from a public seed alone: one to
// three smooth curves of a round pen, sized and centred as MNIST says its
// images are (a box of 20x20, the centre of mass in the middle of 28x28). They
// stand in for handwriting wherever a statistic of it is wanted, so that none
// is taken of the private images.
func strokes(n int, seed uint64) [][]float32 {
	out := make([][]float32, n)
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				out[i] = drawing(rand.New(rand.NewPCG(seed, uint64(i))))
			}
		})
	}
	wg.Wait()
	return out
}

type point struct{ x, y float64 }

// drawing is one image, row by row, 0 for paper and 1 for ink.
func drawing(r *rand.Rand) []float32 {
	path := curves(r)
	lo, hi := path[0], path[0]
	for _, p := range path {
		lo = point{min(lo.x, p.x), min(lo.y, p.y)}
		hi = point{max(hi.x, p.x), max(hi.y, p.y)}
	}
	const box = 20
	pen := 0.9 + 0.9*r.Float64() // radius in pixels
	scale := (box - 2*pen) / max(hi.x-lo.x, hi.y-lo.y, 1)
	middle := point{(lo.x + hi.x) / 2, (lo.y + hi.y) / 2}
	centre := ink(path, middle, scale, pen)
	const half = float64(mnist.Side-1) / 2
	var mass, x, y float64
	for v := range mnist.Side {
		for u := range mnist.Side {
			w := float64(centre[v*mnist.Side+u])
			mass += w
			x += w * (float64(u) - half)
			y += w * (float64(v) - half)
		}
	}
	middle.x += x / mass / scale
	middle.y += y / mass / scale
	return ink(path, middle, scale, pen)
}

// curves is the way of the pen, in steps of a quarter of a unit.
func curves(r *rand.Rand) []point {
	const step = 0.25
	var path []point
	var at point
	for range 1 + r.IntN(3) {
		heading, bend := 2*math.Pi*r.Float64(), 0.25*r.NormFloat64()
		for range int((10 + 30*r.Float64()) / step) {
			path = append(path, at)
			bend += 0.06*r.NormFloat64() - 0.01*bend
			if r.Float64() < 0.01 { // a corner
				heading += 1.2 * r.NormFloat64()
			}
			heading += step * bend
			at.x += step * math.Cos(heading)
			at.y += step * math.Sin(heading)
		}
		if r.Float64() < 0.5 { // the pen is lifted
			at.x += 4 * r.NormFloat64()
			at.y += 4 * r.NormFloat64()
		} else { // or goes back to where it was
			at = path[r.IntN(len(path))]
		}
	}
	return path
}

// ink draws the path with a round pen, middle in the middle of the image.
func ink(path []point, middle point, scale, pen float64) []float32 {
	img := make([]float32, mnist.Side*mnist.Side)
	const half = float64(mnist.Side-1) / 2
	for _, p := range path {
		x, y := (p.x-middle.x)*scale+half, (p.y-middle.y)*scale+half
		for v := max(0, int(y-pen)); v <= min(mnist.Side-1, int(y+pen+2)); v++ {
			for u := max(0, int(x-pen)); u <= min(mnist.Side-1, int(x+pen+2)); u++ {
				dx, dy := float64(u)-x, float64(v)-y
				dark := float32(min(1, max(0, pen+0.5-math.Sqrt(dx*dx+dy*dy))))
				img[v*mnist.Side+u] = max(img[v*mnist.Side+u], dark)
			}
		}
	}
	return img
}
