package noise

//go:generate go run -C _gen .
