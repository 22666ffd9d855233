module github.com/sotto-ml/sotto/nn/scattering/_gen

go 1.26.0
