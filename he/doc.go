// Package he answers queries that it cannot read: it compiles a model of package nn into
// a program over CKKS ciphertexts (Cheon, Kim, Kim and Song 2017), which a server runs
// with a client's evaluation keys alone.
//
//	program, err := he.Compile(model, calibration, he.Options{}) // the server
//	client := he.NewClient(program.Schema())                     // holds the secret key
//	server, err := he.NewServer(program, client.Keys())
//	query, err := client.Encrypt([][]float32{x})
//	answer, err := server.Evaluate(query)
//	outputs, err := client.Decrypt(answer)
//
// [Handler] serves a program over HTTP, and [Dial] is its client. Queries, answers and
// keys have binary forms, each with a header that names the program by its [Digest]:
// what was made for another program is refused ([ErrOtherProgram]).
//
// # What is computed
//
// Linear, Conv2D, AvgPool, GlobalAvgPool, Flatten, Dropout and Residual become affine
// maps, folded together; Square and Polynomial are taken exactly; other activations are
// replaced by polynomials fitted over the range that calibration inputs show, with a
// margin; where the fits move later values beyond their ranges, these are widened. GroupNorm
// and LayerNorm need [Options].FreezeNorms. MaxPool and Embedding are refused by name.
// [Program.Report] says what became of every layer, and [Program.Assess] how answers on a
// test set differ from the model's own outputs.
//
// Mode [Latency] packs one input into a ciphertext's slots; mode [Batch] puts one
// feature of many inputs into each ciphertext and never rotates.
//
// # What is protected, and from whom
//
// The server learns nothing of inputs or outputs beside their number and the times of
// queries, whatever it does, if decisional ring learning with errors is hard: all
// parameters lie within the 128-bit column of a published table ([SecuritySource]), and a
// schema beyond it is refused on both sides.
//
// The client learns its outputs and the [Schema], which shows the network's shape and
// which inputs its first layer reads. The weights are not hidden from it: an answer is a
// function of query, keys and weights alone, nothing is drawn to drown it. In mode Batch,
// whose weights are integers, one query of an affine program gives equations enough to
// solve for them. In mode Latency coefficients that are not outputs decrypt to noise, but the
// answer still lets a guess of the weights be confirmed, and its errors depend on them.
// Serve models whose weights may be known to those who ask.
//
// # What is not protected
//
//   - Integrity. A server may answer anything; nothing proves that it ran the model.
//   - Published outputs. Exact decryptions shown to the server endanger the secret key
//     (Li and Micciancio 2021). [Client.Decrypt] is for the key's owner alone;
//     [Client.DecryptPublic] adds noise that drowns errors up to a stated bound, which is
//     measured on the calibration inputs, not proved: publish nothing of inputs that may
//     leave the calibrated ranges.
//   - Inputs beyond those calibrated. [Client.Encrypt] refuses values beyond
//     [Schema.InputBound], but inputs unlike the calibration's may leave the activations'
//     range, and their outputs, in mode Batch those of the whole query, are then wrong
//     without notice. [Program.Assess] counts such inputs of a test set.
//   - The calibration inputs: their ranges enter the program.
//   - Timing of the client's own decryption, on a machine shared with an attacker.
package he
