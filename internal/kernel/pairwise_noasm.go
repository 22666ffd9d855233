//go:build !amd64 || purego

package kernel

func squaredDistances(dst []float64, rows [][]float32) { squaredDistancesGeneric(dst, rows) }

func distancesTo(dst []float64, rows [][]float32, point []float32) {
	distancesToGeneric(dst, rows, point)
}

func weightedRows(dst []float32, rows [][]float32, w []float32) { weightedRowsGeneric(dst, rows, w) }

func mixRows(dst, rows [][]float32, mixtures [][]Term) { mixRowsGeneric(dst, rows, mixtures) }
