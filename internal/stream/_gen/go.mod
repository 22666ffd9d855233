module github.com/sotto-ml/sotto/internal/stream/_gen

go 1.26.0
