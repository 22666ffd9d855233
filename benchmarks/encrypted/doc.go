// Package encrypted holds benchmarks of encrypted inference, next to one rotation of a
// ciphertext in the same process and in turns.
//
//	go test -run '^$' -bench . -benchtime 1x ./benchmarks/encrypted
//
// The rotation is lattigo's, by one slot, at the top level of a ring of degree 2^13 with
// seven primes (28 bits, and six of 25) and one of 36 bits for key switching: depth 6 at
// 128 bits of security. Evaluation and rotation run on one core; Cores compares all
// cores with one.
//
// Networks are those of examples/encrypted, with random weights: the time does not depend
// on them. LeNet-5's activation is the fit of SiLU that it is trained with.
//
// Metrics, medians over rounds:
//
//	x-rotation  the server's evaluation as a multiple of the rotation
//	ms          its time; of a batch, divided by its inputs
//	rotation-ms  a rotation's time, in blocks about as long as an evaluation
//	key-MB, query-MB, answer-MB  what is sent
//	bits        precision that compilation measured
//	x-cores     throughput of all cores as a multiple of one core's
//	x-NAME      speed as a multiple of a published figure
//
// # Published figures
//
// Evaluation of one MNIST image on the server, as their authors give it, each on its own
// machine; only orders of magnitude compare.
//
//	system                  network                       seconds  note
//	Orion                   MLP 784-128-128-10, square    0.49     one core (Ebel, Garimella and Reagen 2025, ASPLOS, table of MNIST networks)
//	Orion                   LoLa CNN                      0.23     one core (same)
//	LoLa                    LoLa CNN                      2.2      8 vCPU (Brutzkus, Elisha and Gilad-Bachrach 2019, ICML, table 2)
//	TenSEAL                 conv 7x7 stride 3, 64, 10     2        tutorial of encrypted convolution on MNIST (github.com/OpenMined/TenSEAL)
//	Concrete ML             quantised MLP                 3.5      documentation of Zama's Concrete ML (github.com/zama-ai/concrete-ml)
//	fhe-benchmarking.org    MNIST reference               7.6      one image; 6.5 s each in batches of 1,000, keys of 1 GB (github.com/fhe-benchmarking/ml-inference)
package encrypted
