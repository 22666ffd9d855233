//go:build !linux

package aggregation_test

import "time"

func clock() float64 { return float64(time.Now().UnixNano()) / 1e9 }
