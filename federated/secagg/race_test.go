//go:build race

package secagg_test

const raceEnabled = true
