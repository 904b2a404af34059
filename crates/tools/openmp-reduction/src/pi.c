/* The area under 4 / (1 + x * x) from x = 0 to 1 is pi. It is cut into thin
 * strips, and the loop adds up their heights.
 *
 * The pragma is for the OpenMP of the compiler. It gives each thread its share
 * of the steps and a sum of its own, and adds up the threads' sums in the end.
 * A compiler without OpenMP ignores it. */
double pi_openmp(long long steps, int threads)
{
    double width = 1.0 / steps, sum = 0.0;

#pragma omp parallel for reduction(+ : sum) num_threads(threads)
    for (long long i = 0; i < steps; i++) {
        double x = (i + 0.5) * width;
        sum += 4.0 / (1.0 + x * x);
    }
    return sum * width;
}
