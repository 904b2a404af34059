/* The integral of 4 / (1 + x * x) from 0 to 1 is pi: add up the areas of thin strips.
 *
 * The pragma gives each thread its share of the loop and a sum of its own, and adds up the
 * threads' sums at the end. A compiler that is not told to use OpenMP ignores it. */
double pi(long long steps, int threads)
{
    double width = 1.0 / steps, sum = 0.0;

#pragma omp parallel for reduction(+ : sum) num_threads(threads)
    for (long long i = 0; i < steps; i++) {
        double x = (i + 0.5) * width;
        sum += 4.0 / (1.0 + x * x);
    }
    return sum * width;
}
