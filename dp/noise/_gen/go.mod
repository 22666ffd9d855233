module github.com/sotto-ml/sotto/dp/noise/_gen

go 1.26.0
