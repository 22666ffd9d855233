package stream

//go:generate go run -C _gen .
