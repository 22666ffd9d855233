package scattering

import "testing"

func BenchmarkBatch(b *testing.B) {
	for _, size := range []int{28, 32} {
		b.Run(map[int]string{28: "28x28", 32: "32x32"}[size], func(b *testing.B) {
			tr := must(b, size, size, Options{J: 2})
			images := make([][]float32, 64)
			for i := range images {
				images[i] = noise(size*size, uint64(i))
			}
			dst := tr.Batch(nil, images)
			for b.Loop() {
				tr.Batch(dst, images)
			}
			b.ReportMetric(float64(len(images)*b.N)/b.Elapsed().Seconds(), "images/s")
		})
	}
}
