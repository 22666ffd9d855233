package he_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/sotto-ml/sotto/he"
	"github.com/sotto-ml/sotto/nn"
)

// A server holds the model, a client the key. Here both are in one process.
func ExampleDial() {
	// The server.
	model, err := nn.New(nn.Shape{2}, nn.Linear{Out: 2})
	if err != nil {
		panic(err)
	}
	copy(model.Params(), []float32{1, 1, 1, -1, 0.5, 0}) // sum and a half, difference
	program, err := he.Compile(model, [][]float32{{1, 1}, {-1, 1}}, he.Options{})
	if err != nil {
		panic(err)
	}
	handler, err := he.NewHandler(program, he.HandlerOptions{
		Authenticate: func(r *http.Request) (string, error) {
			if _, password, _ := r.BasicAuth(); password != "swordfish" {
				return "", fmt.Errorf("wrong password")
			}
			return "anna", nil
		},
		Rate: 10, SessionIdle: time.Hour,
	})
	if err != nil {
		panic(err)
	}
	server := httptest.NewTLSServer(handler)
	defer server.Close()

	// The client.
	ctx := context.Background()
	remote, err := he.Dial(ctx, server.URL, he.DialOptions{
		HTTPClient: server.Client(),
		Digest:     program.Schema().Digest(),
		Authorize:  func(r *http.Request) error { r.SetBasicAuth("anna", "swordfish"); return nil },
	})
	if err != nil {
		panic(err)
	}
	outputs, err := remote.Predict(ctx, [][]float32{{0.5, 0.25}})
	if err != nil {
		panic(err)
	}
	fmt.Printf("%.3f\n", outputs)
	fmt.Println(remote.Close(ctx), handler.Shutdown(ctx))
	// Output:
	// [[1.250 0.250]]
	// <nil> <nil>
}
