module github.com/sotto-ml/sotto/internal/kernel/_gen

go 1.26.0
