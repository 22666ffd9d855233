package secagg_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sotto-ml/sotto/federated/secagg"
)

// Five hospitals add up vectors; one of them drops out on the way.
func Example() {
	names := []string{"Berlin", "London", "Madrid", "Oslo", "Rome"}
	values := map[string][]float32{"Berlin": {1, 0.5}, "London": {2, 0.25}, "Madrid": {3, 0}, "Oslo": {4, -1}, "Rome": {5, 0.125}}
	points := secagg.FixedPoint{Bound: 8, Clients: len(names)}
	policy := secagg.Policy{MinSurvivors: 3} // a server that may be malicious

	// Each makes an identity and learns the others' from a source that it trusts.
	identities, pinned := map[string]*secagg.Identity{}, map[string]*secagg.PublicIdentity{}
	for _, name := range names {
		identities[name] = secagg.NewIdentity()
		pinned[name] = identities[name].Public()
	}
	run := [32]byte{} // public randomness, drawn when all have joined
	clients := map[string]*secagg.Client{}
	for _, name := range names {
		clients[name], _ = secagg.NewClient(secagg.ClientConfig{
			Name: name, Identity: identities[name], Pinned: pinned, Run: run, Policy: policy,
			Input: func(secagg.Session) ([]uint32, error) { return points.Encode(nil, values[name]) },
		})
	}

	server, err := secagg.NewServer(secagg.Session{
		Run: run, Round: 1, Clients: names, Length: 2,
		Threshold: policy.Threshold(len(names), 0), MinSurvivors: 3,
	}, pinned)
	if err != nil {
		fmt.Println(err)
		return
	}
	exchange := func(_ context.Context, name string, request []byte) ([]byte, error) { // a network
		if name == "Oslo" && server.Phase() >= secagg.Mask {
			return nil, errors.New("the line is dead")
		}
		return clients[name].Handle(request)
	}
	sum, survivors, err := secagg.Run(context.Background(), server, exchange, time.Minute)
	if err != nil {
		fmt.Println(err)
		return
	}
	decoded, _ := points.Decode(nil, sum)
	fmt.Println(survivors, decoded)
	fmt.Println(server.Refusals()[0].Error())
	// Output:
	// [Berlin London Madrid Rome] [11 0.875]
	// secagg: mask: "Oslo": the line is dead
}
