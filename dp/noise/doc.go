// Package noise draws the noise of private training.
package noise
