package streamtest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/internal/stream"
)

func TestKey(t *testing.T) {
	require.Equal(t, Key(1), Key(1))
	require.NotEqual(t, Key(1), Key(2))
	require.NotEqual(t, stream.Key{}, Key(0))
}
