//go:build race

package kernel

// underRace: sync.Pool drops what it is given at random.
const underRace = true
